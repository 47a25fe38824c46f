import { MillraceError } from '../../core/errors.ts';
import type { Stream } from '../../core/model.ts';
import { suggestion } from '../../core/nearest.ts';
import type { ParentConfig } from '../../core/rest.ts';
import type { Value } from '../../core/types.ts';
import { plain } from '../sql/names.ts';
import { boundParams, startMark } from './bounds.ts';
import { createRowMaker } from './infer.ts';
import { keepLooked, type LookedPage } from './looked.ts';
import { mixedKinds } from './mixed.ts';
import { type ListContext, open, requestAt } from './pages.ts';
import type { RawPage } from './pagination/pager.ts';
import { type ListsSeen, noListsSeen } from './pagination/signs.ts';
import { planStream, type StreamPlan } from './plan.ts';
import type { PageSample, RestContext } from './sample.ts';
import { firstPagePlan, isOpen, lookBytes, lookingPager, type Settled, settle } from './settle.ts';

/** Of so many parents at most a list is asked for until one has a record. */
const parentsMax = 20;

interface Look {
  readonly sample: PageSample;
  /** The page itself, where it may be kept. */
  readonly looked: LookedPage | null;
}

/**
 * Looks at the first page of a stream: its format, its records, its pagination, its columns. One request, and a few more
 * where `auto` has to prove a guess, or a parent has to be found. Moves nothing.
 */
export async function lookAtPage(
  context: RestContext,
  declared: StreamPlan,
  signal: AbortSignal,
): Promise<Look> {
  if (declared.parent === null)
    return await lookAtList(context, declared, { parentValue: null, seen: null, signal });
  const seen = noListsSeen();
  let first: Look | null = null;
  for (const parentValue of await parentValues(context, declared.parent, signal)) {
    const look = await lookAtList(context, declared, { parentValue, seen, signal });
    first ??= look;
    const { records, paginationFound } = look.sample;
    // A list without records tells little of others; where everything is declared, that little is enough.
    if (records > 0 || paginationFound?.sure === false || !isOpen(declared)) return look;
  }
  return first ?? { sample: nothingYet(declared), looked: null };
}

interface Looking {
  readonly parentValue: Value;
  readonly seen: ListsSeen | null;
  readonly signal: AbortSignal;
}

async function lookAtList(
  context: RestContext,
  declared: StreamPlan,
  { parentValue, seen, signal }: Looking,
): Promise<Look> {
  const startedAt = performance.now();
  const list: ListContext = {
    settings: context.settings,
    client: context.client,
    plan: declared,
    asked: { bounds: startBounds(declared), parent: parentValue === null ? null : String(parentValue) },
    parentValue,
    key: [],
    signal,
  };
  const asking = { ...list, plan: firstPagePlan(declared) };
  const pager = lookingPager(asking);
  const page = await open(asking, { pager, position: pager.first, holdBytes: lookBytes }, signal);
  const ms = performance.now() - startedAt;
  try {
    const settled = await settle(list, page, seen);
    const looked = keepLooked(requestAt(asking, pager, pager.first), settled.page, settled.bytes);
    return { sample: sampleOf(list, settled, ms), looked };
  } finally {
    page.close();
  }
}

function sampleOf(list: ListContext, settled: Settled, ms: number): PageSample {
  const { own, others, read, page, bytes } = settled;
  const maker = createRowMaker({ columns: [] });
  const { values, rows } = maker.rows(read.records, read.textual);
  const width = maker.columns.length;
  return {
    plan: own.parent === null ? own : others,
    status: page.status,
    contentType: page.contentType,
    skewMs: page.skewMs,
    bytes: bytes.length,
    ms,
    recordsFound: settled.recordsFound,
    paginationFound: settled.paginationFound,
    records: read.raw,
    columns: maker.columns,
    rows: Array.from({ length: rows }, (_, at) => values.slice(at * width, (at + 1) * width)),
    mixed: mixedKinds(read.records, read.textual),
    whole: read.page !== null,
    next: read.page === null ? null : nextRequest({ ...list, plan: own }, read.page),
  };
}

function nextRequest(context: ListContext, page: RawPage): string | null {
  const pager = lookingPager(context);
  const result = pager.after(pager.first, page);
  if (!('next' in result)) return null;
  const { method, url, body } = requestAt(context, pager, result.next);
  return context.client.clean(`${method} ${url.href}${body === undefined ? '' : ` with ${body}`}`);
}

function startBounds(plan: StreamPlan): Readonly<Record<string, string>> {
  return boundParams(plan, { from: startMark(plan), to: Date.now() });
}

/** What the first rows of the parent have in the field; none while there is no such row. */
async function parentValues(
  context: RestContext,
  parent: ParentConfig,
  signal: AbortSignal,
): Promise<readonly Value[]> {
  const { sample } = await lookAtPage(
    context,
    planStream(context.settings, parentStream(context, parent)),
    signal,
  );
  const place = sample.columns.findIndex(({ name }) => name === parent.field);
  if (place === -1 && sample.rows.length > 0) {
    throw new MillraceError(
      'not_found_at_source',
      `The parent stream "${parent.stream}" has no field "${plain(parent.field, 60)}".`,
      {
        hint: suggestion(
          parent.field,
          sample.columns.map(({ name }) => name),
        ),
      },
    );
  }
  const values = sample.rows.map((row) => row[place] ?? null).filter((value) => value !== null);
  return [...new Set(values)].slice(0, parentsMax);
}

/** The stream whose rows another is asked about by. Throws `invalid_config`. */
export function parentStream({ streams }: RestContext, { stream: name }: ParentConfig): Stream {
  const stream = streams.find((candidate) => candidate.name === name);
  if (stream === undefined || stream.path === undefined) {
    throw new MillraceError(
      'invalid_config',
      `The parent stream "${plain(name, 63)}" is not a stream of this connector.`,
      {
        hint: suggestion(
          name,
          streams.map((candidate) => candidate.name),
        ),
      },
    );
  }
  if (stream.rest?.parent !== undefined) {
    throw new MillraceError('invalid_config', `The parent stream "${name}" has a parent itself.`, {
      hint: 'One level can be asked about: name a stream without a parent in rest.parent.',
    });
  }
  return stream;
}

/** What is known of a child while there is no parent to ask about. */
function nothingYet(plan: StreamPlan): PageSample {
  return {
    plan,
    status: 0,
    contentType: null,
    skewMs: null,
    bytes: 0,
    ms: 0,
    recordsFound: null,
    paginationFound: null,
    records: 0,
    columns: [],
    rows: [],
    mixed: [],
    whole: false,
    next: null,
  };
}
