import type { ResolvedStream } from '../../core/model.ts';
import { shownLookback } from '../sql/lookback.ts';
import type { MarkKind } from './marks.ts';
import type { StreamPlan } from './plan.ts';
import { keepsRecords } from './records.ts';

/** Which protection against changes that come late, or move between pages, is in force: for the run's result. */
export function guardText(stream: ResolvedStream, plan: StreamPlan, kind: MarkKind | null): string {
  const parts = [pagesGuard(stream, plan)];
  if (stream.cursor !== null) {
    const time = kind === 'time' || kind === 'date' || plan.cursorFormat.includes('epoch_');
    parts.push(
      time
        ? 'mark at least 60 s before the reading began'
        : plan.order === 'asc' || plan.order === 'desc'
          ? 'mark at the highest value, as the API sorts by it'
          : 'mark at the highest value of the reading before',
    );
    if (plan.lookback !== null) parts.push(`look-back of ${shownLookback(plan.lookback)}`);
  }
  return parts.filter((part) => part !== '').join('; ');
}

/**
 * Whether rows that move between pages while they are read can be missed, and nobody would see it: numbered pages cannot
 * begin a row early, and rows without a key are not known again.
 */
export function canMissMoved({ primaryKey }: Pick<ResolvedStream, 'primaryKey'>, plan: StreamPlan): boolean {
  if (plan.pagination.type === 'page') return true;
  return plan.pagination.type === 'offset' && (primaryKey.length === 0 || !keepsRecords(plan));
}

function pagesGuard(stream: ResolvedStream, plan: StreamPlan): string {
  if (canMissMoved(stream, plan)) return 'none for rows that move between pages';
  return plan.pagination.type === 'offset'
    ? 'pages overlap by one row and are compared by key'
    : "pages follow the API's own positions";
}
