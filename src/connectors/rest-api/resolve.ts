import { MillraceError } from '../../core/errors.ts';
import type { ResolvedStream, Stream } from '../../core/model.ts';
import type { PaginationConfig } from '../../core/rest.ts';
import { chooseColumns, chooseMode, findColumn, sortsBehind } from '../sql/choices.ts';
import { plain } from '../sql/names.ts';
import { candidates, chooseCursor, chooseKey, type RestColumn, shapeOf } from './choose.ts';
import { lookAtPage } from './look.ts';
import type { LookedPage } from './looked.ts';
import { planStream, type StreamPlan } from './plan.ts';
import type { PageSample, RestContext } from './sample.ts';
import { unsure } from './settle.ts';

/** A stream after one look at its first page, and what reading it needs besides. */
export interface ResolvedRest {
  readonly stream: ResolvedStream;
  readonly plan: StreamPlan;
  readonly sample: PageSample;
}

/**
 * Looks at the first page of a declared stream and chooses what was left open. Throws a coded error with a hint for
 * everything that could not work: better now than after an hour of paging.
 */
export async function resolveRest(
  context: RestContext,
  stream: Stream,
  signal: AbortSignal,
): Promise<ResolvedRest & { readonly looked: LookedPage | null }> {
  refuseDeletes(stream);
  const { sample, looked } = await lookAtPage(context, planStream(context.settings, stream), signal);
  return { stream: resolveOver(stream, sample), plan: sample.plan, sample, looked };
}

/** The choices, over what a look found. Pure. */
function resolveOver(stream: Stream, sample: PageSample): ResolvedStream {
  const { plan } = sample;
  const notes = pageNotes(stream, sample);
  const shape = shapeOf(stream, sample);
  const choice = { stream, plan, sample, shape };
  const key = chooseKey(choice, notes);
  const cursor = chooseCursor(choice, notes);
  const mode = chooseMode({ stream, key, cursor, shape, candidates: candidates(shape) }, notes);
  const usedCursor = mode === 'replace' ? null : cursor;
  const find = (name: string, what: string): RestColumn => findColumn(shape, name, what);
  const needed = [...(mode === 'merge' ? key : []), ...(usedCursor ? [usedCursor] : [])];
  const columns = shape.columns.length === 0 ? [] : chooseColumns({ stream, shape, find }, needed, notes);
  const usedKey = mode !== 'append' && key.every((column) => columns.includes(column)) ? key : [];
  if (usedCursor?.type === 'text') notes.push(sortsBehind(usedCursor));
  if (plan.parent !== null && usedCursor !== null && plan.windowMs !== null)
    notes.push(
      'With `window`, the list of a parent that comes later is read from the mark on: its older rows come with a full_refresh.',
    );
  return {
    name: stream.name,
    declared: stream,
    mode,
    columns: columns.map(({ name, type, sourceType, nullable }) => ({
      name,
      type,
      sourceType,
      nullable: nullable && !usedKey.some((column) => column.name === name),
    })),
    primaryKey: usedKey.map(({ name }) => name),
    cursor: usedCursor?.name ?? null,
    detectDeletes: false,
    columnsGrow: true,
    // Windows of time begin at the mark for all lists.
    ...(plan.parent !== null && usedCursor !== null && plan.windowMs === null
      ? { parentColumn: plan.parent.column }
      : {}),
    notes,
  };
}

function refuseDeletes({ name, deletes }: Stream): void {
  if (deletes !== 'detect') return;
  throw new MillraceError(
    'invalid_config',
    `Stream "${name}" cannot look for deleted records: an API does not list what is gone.`,
    {
      hint: 'Leave `deletes` out; mode "replace" reads everything each time, and what is gone is gone here too.',
    },
  );
}

/** What the look settled, in the words of a run's warnings. Throws where nobody but a person can say how it is paged. */
function pageNotes(
  stream: Stream,
  { plan, recordsFound, paginationFound, records, rows }: PageSample,
): string[] {
  const notes: string[] = [];
  if (rows.length === 0)
    notes.push(
      `${plain(stream.path ?? '', 100)} has no records yet: columns and types come with the first ones.`,
    );
  if (recordsFound !== null && plan.records !== null)
    notes.push(
      `Records are taken from ${plan.records}: ${recordsFound}. Declare rest.records if it is another.`,
    );
  if (paginationFound !== null) {
    if (!paginationFound.sure) throw unsure(stream.name, paginationFound.why);
    notes.push(
      `Pagination ${shownPagination(plan.pagination)}: ${paginationFound.why}${plan.pagination.type === 'auto' ? '; each list shows by its own first page whether it goes on' : ''}.`,
    );
  }
  const size = pageSize(plan.pagination);
  if (size !== null && records > size)
    notes.push(
      `The API was asked for ${size} records a page and answered with ${records}: it may not know the parameter, or stop at a maximum of its own.`,
    );
  return notes;
}

/** A pagination in a few words. */
export function shownPagination(pagination: PaginationConfig): string {
  const { type, ...rest } = pagination;
  const parts = Object.entries(rest).map(([name, value]) => `${name} ${String(value)}`);
  return plain(parts.length === 0 ? `"${type}"` : `"${type}" (${parts.join(', ')})`, 200);
}

function pageSize(pagination: PaginationConfig): number | null {
  if (pagination.type === 'offset') return pagination.limit;
  return pagination.type === 'page' ? (pagination.size ?? null) : null;
}
