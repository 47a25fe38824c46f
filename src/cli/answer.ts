/**
 * The one place that writes a command's answer to stdout. When MCP is spoken over stdio nothing here is called:
 * stdout then carries protocol frames only.
 */
export function answer(text: string): void {
  process.stdout.write(text.endsWith('\n') ? text : `${text}\n`);
}

/** What a person should see but a pipe should not get: progress, errors, questions. */
export function notice(text: string): void {
  process.stderr.write(text.endsWith('\n') ? text : `${text}\n`);
}
