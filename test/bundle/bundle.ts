import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { manifest } from './manifest.ts';
import { binariesIn, packageFile, unpackInto } from './package.ts';

/**
 * Makes the `.mcpb` file: the package, what it depends on, a manifest; by the tool that clients' makers give out. Nothing
 * in it is machine code, so that one file serves every platform and macOS lets it in (modelcontextprotocol/mcpb#229):
 * without better-sqlite3 the program takes Node's own library.
 */
export async function bundle(file: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-bundle-'));
  try {
    unpackInto(folder, ['better-sqlite3']);
    const binaries = binariesIn(folder);
    if (binaries.length > 0)
      throw new Error(`machine code would get into the bundle: ${binaries.join(', ')}`);
    writeFileSync(join(folder, 'manifest.json'), `${JSON.stringify(manifest(packageFile()), null, 2)}\n`);
    await mcpb('validate', join(folder, 'manifest.json'));
    await mcpb('pack', folder, file);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Unpacks a bundle as a client does that installs it. */
export async function unbundle(file: string, folder: string): Promise<void> {
  await mcpb('unpack', file, folder);
}

async function mcpb(...args: readonly string[]): Promise<void> {
  const program = fileURLToPath(new URL('cli/cli.js', import.meta.resolve('@anthropic-ai/mcpb')));
  await promisify(execFile)(process.execPath, [program, ...args], { maxBuffer: 64 * 1024 * 1024 });
}
