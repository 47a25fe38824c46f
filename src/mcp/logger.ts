/** Hears of what is not for the client. A pino logger fits. */
export interface Logger {
  error(fields: Readonly<Record<string, unknown>>, message: string): void;
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
}

/** The SDK quotes what a client sent, of any length. */
const detailChars = 300;

/** For the SDK's `onerror`. What it hears of is nearly always a client's mistake: nothing to be woken for. */
export function warning(logger: Logger | undefined, message: string): (error: Error) => void {
  return (error) =>
    logger?.warn({ event: 'mcp_error', detail: error.message.slice(0, detailChars) }, message);
}
