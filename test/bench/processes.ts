import { spawn, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { BenchSource, Contender } from './source.ts';
import { SQLITE_COLUMNS, type TableName } from './tables.ts';

/** Seconds that another program took to move the table into a new SQLite file. */
export interface Timing {
  readonly rows: number;
  readonly ms: number;
}

/** The bare loop, in a process of its own. */
export async function runCeiling(
  ceiling: BenchSource['ceiling'],
  table: TableName,
  file: string,
): Promise<Timing> {
  const script = fileURLToPath(new URL(ceiling.run, import.meta.url));
  const child = spawn(process.execPath, [script, table, file], {
    env: { ...process.env, ...ceiling.env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let out = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    out += chunk;
  });
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  if (code !== 0) throw new Error(`The ceiling ended with exit code ${code}.`);
  return JSON.parse(out) as Timing;
}

/** Which of these command line tools are missing here. */
export function missingTools(tools: readonly string[]): readonly string[] {
  return tools.filter((tool) => spawnSync(tool, ['--version'], { stdio: 'ignore' }).status !== 0);
}

/** A source's own client into `sqlite3 .import`, as a person would type it. It is only about time: NULLs are lost. */
export async function runPipe(pipe: Contender<string>, table: TableName, file: string): Promise<Timing> {
  const made = spawnSync('sqlite3', [file, `CREATE TABLE ${table} (${SQLITE_COLUMNS[table]})`], {
    stdio: 'inherit',
  });
  if (made.status !== 0) throw new Error('sqlite3 could not make the table.');
  const began = performance.now();
  const shell = spawn('bash', ['-o', 'pipefail', '-c', pipe.run], {
    env: { ...process.env, ...pipe.env, BENCH_TABLE: table, BENCH_FILE: file },
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const code = await new Promise<number | null>((resolve) => shell.once('close', resolve));
  const ms = performance.now() - began;
  if (code !== 0) throw new Error(`The pipe ended with exit code ${code}.`);
  const counted = spawnSync('sqlite3', [file, `SELECT count(*) FROM ${table}`], { encoding: 'utf8' });
  return { rows: Number(counted.stdout.trim()), ms };
}

/** Most memory a process and its children have ever held, in MB (10^6 bytes); null where the system does not say. */
export function peakMemoryMb(pid: number): number | null {
  try {
    const own = Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
    return childrenOf(pid).reduce((sum, child) => sum + (peakMemoryMb(child) ?? 0), (own * 1024) / 1e6);
  } catch {
    return null;
  }
}

/** Processor time that a process has taken so far, its threads included, in milliseconds. Linux only. */
export function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // Behind the name, which may hold blanks: utime and stime are the 14th and 15th field, in hundredths of a second.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return 10 * (Number(fields[11]) + Number(fields[12]));
}

/** Memory that a process holds now, in MB (10^6 bytes). Linux only. */
export function memoryMb(pid: number): number {
  const held = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return (Number(held) * 1024) / 1e6;
}

function childrenOf(pid: number): readonly number[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
    readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
  );
}
