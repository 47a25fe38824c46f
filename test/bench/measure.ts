import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compareLanded } from './compare.ts';
import { startBenched } from './millrace.ts';
import { runCeiling, runPipe } from './processes.ts';
import type { BenchSource } from './source.ts';
import type { TableName } from './tables.ts';

/** What was measured of one table, medians over the rounds; times in ms, memory in MB. */
export interface TableResult {
  readonly table: TableName;
  readonly rows: number;
  /** Rows a second, as the caller sees it: from the call of `sync_connector` to the answer. */
  readonly millrace: number;
  /** Rows a second by the run's own duration. */
  readonly millraceOwn: number;
  /** The same for a load during which `get_health` is called all the time. */
  readonly millraceAsked: number;
  readonly ceiling: number;
  /** Null without the tools for it. */
  readonly pipe: number | null;
  readonly nothingMs: number;
  readonly nothingOwnMs: number;
  readonly changedRows: number;
  readonly changedMs: number;
  readonly healthP99Ms: number;
  readonly healthCalls: number;
  readonly peakMb: number | null;
  /** The same once the process had moved as many rows as it does of the largest table: it differs by the table alone. */
  readonly peakAtEndMb: number | null;
}

interface Round {
  readonly millraceMs: number;
  readonly ownMs: number;
  readonly askedMs: number;
  readonly ceilingMs: number;
  readonly pipeMs: number | null;
  readonly nothing: readonly { readonly outsideMs: number; readonly ownMs: number }[];
  readonly changedMs: number;
  readonly changedRows: number;
  readonly health: readonly number[];
  readonly peakMb: number | null;
  readonly peakAtEndMb: number | null;
}

export interface Plan {
  readonly rows: number;
  /** Rows of the largest table that is measured beside this one. */
  readonly largest: number;
  readonly rounds: number;
  readonly note: (text: string) => void;
}

/**
 * One table, measured in rounds. Each round runs every contender once, in turns: a machine that is slow for a
 * minute is slow for all. Each round begins with the source as it was made.
 */
export async function measureTable(source: BenchSource, table: TableName, plan: Plan): Promise<TableResult> {
  const rounds: Round[] = [];
  for (let i = 0; i < plan.rounds; i++) {
    plan.note(`${table}: round ${i + 1} of ${plan.rounds}`);
    await source.fill(table, plan.rows);
    rounds.push(await measureRound(source, table, plan));
  }
  const perSecond = (ms: number): number => plan.rows / (ms / 1000);
  const health = rounds.flatMap((round) => round.health);
  const nothing = rounds.flatMap((round) => round.nothing);
  const pipes = rounds.flatMap((round) => (round.pipeMs === null ? [] : [round.pipeMs]));
  return {
    table,
    rows: plan.rows,
    millrace: perSecond(median(rounds.map((round) => round.millraceMs))),
    millraceOwn: perSecond(median(rounds.map((round) => round.ownMs))),
    millraceAsked: perSecond(median(rounds.map((round) => round.askedMs))),
    ceiling: perSecond(median(rounds.map((round) => round.ceilingMs))),
    pipe: pipes.length > 0 ? perSecond(median(pipes)) : null,
    nothingMs: median(nothing.map((run) => run.outsideMs)),
    nothingOwnMs: median(nothing.map((run) => run.ownMs)),
    changedRows: rounds[0]?.changedRows ?? 0,
    changedMs: median(rounds.map((round) => round.changedMs)),
    healthP99Ms: quantile(health, 0.99),
    healthCalls: health.length,
    // The worst round, not the median: a bound on memory holds always or not at all.
    peakMb: worst(rounds.map((round) => round.peakMb)),
    peakAtEndMb: worst(rounds.map((round) => round.peakAtEndMb)),
  };
}

async function measureRound(source: BenchSource, table: TableName, plan: Plan): Promise<Round> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-bench-'));
  try {
    await source.settle();
    const ceilingFile = join(folder, 'ceiling.db');
    const ceiling = await runCeiling(source.ceiling, table, ceilingFile);
    const shell = source.pipe?.shell ?? null;
    const pipe = shell && (await runPipe(shell, table, join(folder, 'pipe.db')));
    await using millrace = await startBenched(source, join(folder, 'data'));
    const full = await millrace.sync(table);
    same(plan.rows, {
      ceiling: ceiling.rows,
      pipe: pipe?.rows ?? plan.rows,
      millrace: full.run.totals.rows_written,
    });
    compareLanded(table, ceilingFile, join(folder, 'data', 'warehouse.db'));
    const nothing = [];
    for (let i = 0; i < 3; i++) {
      const { run, outsideMs } = await millrace.sync(table);
      same(0, { written: run.totals.rows_written });
      nothing.push({ outsideMs, ownMs: run.duration_ms ?? Number.NaN });
    }
    const changedRows = await source.changeOnePercent(table);
    const changed = await millrace.sync(table);
    same(changedRows, { written: changed.run.totals.rows_written });
    // The contenders are asked nothing while they load, so neither is Millrace: it is asked in a load of its own.
    const asked = await millrace.loadAsked(table);
    same(plan.rows, { askedMeanwhile: asked.run.totals.rows_written });
    const peakMb = millrace.peakMemoryMb();
    // A process that has run for longer has let its heaps grow to their limits, whatever the size of the table.
    for (let loads = 1; loads * plan.rows < plan.largest; loads++) {
      await millrace.sync(table, { fullRefresh: true });
      await millrace.loadAsked(table);
    }
    return {
      millraceMs: full.outsideMs,
      askedMs: asked.outsideMs,
      ownMs: full.run.duration_ms ?? Number.NaN,
      ceilingMs: ceiling.ms,
      pipeMs: pipe?.ms ?? null,
      nothing,
      changedMs: changed.outsideMs,
      changedRows,
      health: asked.health,
      peakMb,
      peakAtEndMb: millrace.peakMemoryMb(),
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** A contender that did less work would be faster: then there is nothing to compare. */
function same(wanted: number, got: Readonly<Record<string, number>>): void {
  for (const [name, rows] of Object.entries(got)) {
    if (rows !== wanted) throw new Error(`${name}: ${rows} rows where ${wanted} were to be.`);
  }
}

function worst(peaks: readonly (number | null)[]): number | null {
  const known = peaks.filter((peak) => peak !== null);
  return known.length > 0 ? Math.max(...known) : null;
}

/** The middle one; of an even number the lower of the two in the middle. */
function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** The smallest value that at least that share of the values do not exceed. */
function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN;
}
