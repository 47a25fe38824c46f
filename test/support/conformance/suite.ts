import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';

/** A revision of the protocol, whose requirements the suite has frozen. */
export type Revision = '2026-07-28' | '2025-11-25';

export interface Outcome {
  /** How the suite itself judged what it scores. */
  readonly exitCode: number | null;
  readonly scenarios: ReadonlyMap<string, readonly Check[]>;
  /** What it said, to be read where it went wrong. */
  readonly output: string;
}

const check = z.object({
  id: z.string(),
  status: z.enum(['SUCCESS', 'FAILURE', 'WARNING', 'SKIPPED', 'INFO']),
  description: z.string(),
  errorMessage: z.string().optional(),
});

export type Check = z.infer<typeof check>;

const program = fileURLToPath(import.meta.resolve('@modelcontextprotocol/conformance/dist/index.js'));

/** Runs every server scenario of a revision, scored or not, against an MCP endpoint; as a process of its own, as anybody would. */
export async function runSuite(url: string, revision: Revision): Promise<Outcome> {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-suite-'));
  try {
    const args = [program, 'server', '--url', url, '--requirements', revision, '-o', folder];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (part) => {
        output += String(part);
      });
    const [exitCode] = (await once(child, 'close')) as [number | null];
    return { exitCode, output, scenarios: scenariosIn(folder) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The suite writes a folder for each scenario: `server-NAME-DATE`. */
function scenariosIn(folder: string): ReadonlyMap<string, readonly Check[]> {
  const found = readdirSync(folder).map((name) => {
    const scenario = /^server-(.+)-\d{4}-\d\d-\d\dT[\d-]+Z$/.exec(name)?.[1];
    if (scenario === undefined) throw new Error(`The suite wrote a folder that is no scenario's: ${name}`);
    const checks = JSON.parse(readFileSync(join(folder, name, 'checks.json'), 'utf8'));
    return [scenario, z.array(check).parse(checks)] as const;
  });
  return new Map(found);
}
