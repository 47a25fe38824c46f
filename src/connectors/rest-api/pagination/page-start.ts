import type { PaginationConfig } from '../../../core/rest.ts';
import type { RawPage } from './pager.ts';

/** What asking for the second page in this way brings; `refused` when the API does not take it. */
export type Probed =
  | { readonly is: 'other' | 'same'; readonly page: RawPage }
  | { readonly is: 'empty' | 'refused' };

export type Probe = (config: PaginationConfig) => Promise<Probed>;

export type PageNumbers = Extract<PaginationConfig, { readonly type: 'page' }>;

/**
 * The number of the page that came without one: begun at 1, a list that is counted from 0 would lose its first page. Page 2
 * cannot tell, for it is another one in both. Null: neither 0 nor 1 is that page.
 */
export async function startOf(probe: Probe, pagination: PageNumbers): Promise<0 | 1 | null> {
  // What is asked for is the page behind `start`.
  const one = await probe({ ...pagination, start: 0 });
  if (one.is === 'same') return 1;
  if (one.is !== 'other') return null;
  const zero = await probe({ ...pagination, start: -1 });
  if (zero.is === 'same') return 0;
  // With nothing in front of it, page 1 is the first one: rows have moved since, or pages come only where they are asked for.
  if (zero.is !== 'other') return 1;
  return sameRecords(zero.page, one.page) ? 1 : null;
}

/** Whether two pages hold the same, as far as their ends tell. */
export function sameRecords(one: RawPage, other: RawPage): boolean {
  return (
    one.records === other.records &&
    JSON.stringify(one.first) === JSON.stringify(other.first) &&
    JSON.stringify(one.last) === JSON.stringify(other.last)
  );
}
