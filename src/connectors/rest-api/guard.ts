import type { ResolvedStream } from '../../core/model.ts';
import { shownLookback } from '../sql/lookback.ts';
import type { MarkKind } from './marks.ts';
import type { StreamPlan } from './plan.ts';

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

function pagesGuard({ primaryKey }: ResolvedStream, { pagination, explode }: StreamPlan): string {
  switch (pagination.type) {
    case 'offset':
      return primaryKey.length > 0 && explode === null
        ? 'pages overlap by one row and are compared by key'
        : 'none for rows that move between pages';
    case 'page':
      return 'none for rows that move between pages';
    default:
      return "pages follow the API's own positions";
  }
}
