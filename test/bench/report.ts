import { availableParallelism } from 'node:os';
import { styleText } from 'node:util';
import type { TableResult } from './measure.ts';
import type { BenchSource, Wanted } from './source.ts';

/** The results as a person wants to read them: one column a table, what is wanted beside what was measured. */
export function reportText(results: readonly TableResult[], source: BenchSource): string {
  const sizes = [...new Set(results.map((result) => result.rows))];
  const machine = `Node ${process.versions.node} · ${availableParallelism()} cores · ${process.platform}-${process.arch}`;
  return [
    `${source.title} → SQLite · ${machine}`,
    ...sizes.flatMap((rows) =>
      section(
        rows,
        results.filter((result) => result.rows === rows),
        linesOf(source),
      ),
    ),
    ...(sizes.length > 1 ? growth(results) : []),
  ].join('\n');
}

interface Line {
  readonly label: string;
  readonly show: (result: TableResult) => string;
  readonly wanted?: { readonly text: string; readonly met: (result: TableResult) => boolean };
}

function section(rows: number, results: readonly TableResult[], lines: readonly Line[]): readonly string[] {
  const heads = results.map(({ table }) => `${table} (${table === 'narrow' ? 4 : 13} columns)`);
  return [
    '',
    row(styleText('bold', `${count(rows)} rows`), `${count(rows)} rows`.length, heads),
    ...lines.map((line) => lineText(line, results)),
  ];
}

function linesOf({ pipe, wanted }: BenchSource): readonly Line[] {
  return [
    { label: 'full load, rows/s', show: () => '' },
    { label: '  Millrace, as its caller sees it', show: (r) => count(r.millrace) },
    { label: '  Millrace, by its own clock', show: (r) => count(r.millraceOwn) },
    { label: '  Millrace, asked all the while', show: (r) => count(r.millraceAsked) },
    { label: '  (a) bare loop, one thread', show: (r) => count(r.ceiling) },
    ...(pipe === null
      ? []
      : [
          {
            label: `  (b) ${pipe.title}`,
            show: (r: TableResult) => (r.pipe === null ? 'not measured' : count(r.pipe)),
          },
        ]),
    {
      label: '  Millrace / (a)',
      show: (r) => (r.millrace / r.ceiling).toFixed(2),
      wanted: shareOf(wanted.ofCeiling, (r) => r.millrace / r.ceiling),
    },
    ...(pipe === null ? [] : [besidePipe(wanted)]),
    { label: 'incremental run', show: () => '' },
    {
      label: '  nothing new',
      show: (r) => `${r.nothingMs.toFixed(0)} ms`,
      ...(wanted.nothingMs !== null && { wanted: within(wanted.nothingMs) }),
    },
    { label: '  1 % changed', show: (r) => `${r.changedMs.toFixed(0)} ms (${count(r.changedRows)} rows)` },
    {
      label: 'most memory, whole process',
      show: (r) => (r.peakMb === null ? 'not known here' : `${r.peakMb.toFixed(0)} MB`),
      wanted: { text: 'under 250 MB', met: (r) => r.peakMb === null || r.peakMb < 250 },
    },
    {
      label: 'get_health while asked, p99',
      show: (r) => `${r.healthP99Ms.toFixed(1)} ms of ${count(r.healthCalls)}`,
      wanted: { text: 'under 50 ms', met: (r) => r.healthP99Ms < 50 },
    },
  ];
}

function besidePipe({ ofPipe }: Wanted): Line {
  return {
    label: '  Millrace / (b)',
    show: (r) => (r.pipe === null ? '–' : (r.millrace / r.pipe).toFixed(2)),
    ...(ofPipe && {
      wanted: shareOf(ofPipe, (r) => (r.pipe === null ? Number.POSITIVE_INFINITY : r.millrace / r.pipe)),
    }),
  };
}

/** A run that finds nothing takes less than that. */
function within(ms: number): NonNullable<Line['wanted']> {
  return { text: `under ${ms} ms`, met: (result) => result.nothingMs < ms };
}

/** At least that share of what another reaches, on each table. */
function shareOf(
  shares: Wanted['ofCeiling'],
  reached: (result: TableResult) => number,
): NonNullable<Line['wanted']> {
  const { narrow, wide } = shares;
  const text = narrow === wide ? '' : `, wide ${wide.toFixed(2)}`;
  return {
    text: `at least ${narrow.toFixed(2)}${text}`,
    met: (result) => reached(result) >= shares[result.table],
  };
}

function lineText(line: Line, results: readonly TableResult[]): string {
  const cells = results.map(line.show);
  if (!line.wanted) return row(line.label, line.label.length, cells).trimEnd();
  const met = results.every(line.wanted.met);
  const verdict = styleText(met ? 'green' : 'red', `${met ? '✓' : '✗'} ${line.wanted.text}`);
  return `${row(line.label, line.label.length, cells)}   ${verdict}`;
}

/** How much more memory the largest table took than the smallest, in processes that had moved as many rows. */
function growth(results: readonly TableResult[]): readonly string[] {
  const tables = [...new Set(results.map((result) => result.table))];
  const texts = tables.flatMap((table) => {
    const own = results.filter((result) => result.table === table).sort((a, b) => a.rows - b.rows);
    const [small, large] = [own[0], own.at(-1)];
    if (!small?.peakAtEndMb || !large?.peakAtEndMb) return [];
    const [from, to] = [small, large].map(
      (result) => `${result.peakAtEndMb?.toFixed(0)} MB at ${count(result.rows)}`,
    );
    return [`  ${table}: ${from}, ${to} rows (×${(large.peakAtEndMb / small.peakAtEndMb).toFixed(2)})`];
  });
  return texts.length > 0
    ? ['', 'memory as tables grow, once each process had moved as many rows', ...texts]
    : [];
}

/** `width` is what `label` takes on the screen, which colours do not. */
function row(label: string, width: number, cells: readonly string[]): string {
  return label + ' '.repeat(Math.max(1, 36 - width)) + cells.map((cell) => cell.padStart(24)).join('');
}

function count(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}
