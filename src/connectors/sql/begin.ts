/** Where a reading begins: whether the stored position fits, which bound holds, and what is left to read. */

import { MillraceError } from '../../core/errors.ts';
import type { Cursor, ResolvedStream } from '../../core/model.ts';
import { appendSteps } from './append.ts';
import type { GuardResult } from './guard.ts';
import { type Lookback, parseLookback } from './lookback.ts';
import { mergeSteps } from './merge.ts';
import { type Position, readPosition, type Settled, writePosition } from './position.ts';
import {
  everything,
  landing,
  type ReadColumn,
  type RowReader,
  type Step,
  type StepContext,
  type Steps,
} from './reader.ts';

/** A stored position, or null and a word when it was made for another cursor or key. */
export function usablePosition(
  stream: ResolvedStream,
  { of }: { readonly of: string },
  from: Cursor | null,
): { readonly position: Position | null; readonly warnings: readonly string[] } {
  if (stream.mode === 'replace') return { position: null, warnings: [] };
  const position = readPosition(from);
  const appends = position?.phase === 'append' || position?.phase === 'appended';
  if (position === null) return { position, warnings: [] };
  if (position.phase !== 'replace' && position.of === of && appends === (stream.mode === 'append'))
    return { position, warnings: [] };
  if (stream.mode === 'append') {
    throw new MillraceError(
      'cursor_invalid',
      `The stored position of "${stream.name}" belongs to another cursor, type or mode: going on would add rows twice.`,
      {
        hint: 'Run sync_connector with full_refresh: true; or give the stream a new name, and it lands in a new table.',
        nextActions: [],
      },
    );
  }
  return {
    position: null,
    warnings: [
      'The cursor or key of the stream is not the one of the stored position: everything is read again, and merged.',
    ],
  };
}

interface BoundRequest<C extends ReadColumn> {
  readonly stream: ResolvedStream;
  readonly cursor: C | null;
  readonly position: Position | null;
  readonly guard: (question: {
    readonly cursor: C;
    readonly settled: Settled;
    readonly lookback: Lookback | null;
  }) => Promise<GuardResult>;
}

/** What will be settled when this reading is complete: asked of the guard, or, in a resumed one, asked at its beginning. */
export async function findBound<C extends ReadColumn>({
  stream,
  cursor,
  position,
  guard,
}: BoundRequest<C>): Promise<GuardResult> {
  const declared = stream.declared.lookback === undefined ? null : parseLookback(stream.declared.lookback);
  if (stream.mode === 'replace' || cursor === null) {
    return {
      bound: { mark: null, held: [] },
      lookback: null,
      guard: 'one snapshot of everything',
      warnings: [],
    };
  }
  if (position?.phase === 'load' || position?.phase === 'inc' || position?.phase === 'append') {
    return {
      bound: position.bound,
      // The guard may have given a window where none is declared.
      lookback: declared ?? (position.phase === 'inc' ? position.lookback : null) ?? null,
      guard: 'as at the beginning of this run, which is being resumed',
      warnings: [],
    };
  }
  const { mark, held } =
    position?.phase === 'settled' || position?.phase === 'appended' ? position : { mark: null, held: [] };
  return await guard({ cursor, settled: { mark, held }, lookback: declared });
}

/** What is left to read from the position on. */
export async function stepsFor<C extends ReadColumn>(
  { mode }: ResolvedStream,
  context: StepContext<C>,
): Promise<Steps> {
  switch (mode) {
    case 'merge':
      return await mergeSteps(context);
    case 'append':
      return await appendSteps(context);
    case 'replace':
      return replaceSteps(context.reader);
    default:
      throw mode satisfies never;
  }
}

/** Everything in the order in which it lies: never resumed, since the order is not ours to repeat. */
function replaceSteps<C extends ReadColumn>(reader: RowReader<C>): Steps {
  const end: Position = { phase: 'replace' };
  const cursor = writePosition(end);
  const step: Step = async function* () {
    for await (const batch of reader.rows(everything)) yield { ...landing(batch), cursor };
  };
  return { steps: [step], end, resumed: false, warnings: [] };
}
