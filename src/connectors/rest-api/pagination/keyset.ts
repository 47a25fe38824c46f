import { MillraceError } from '../../../core/errors.ts';
import { isRaw } from '../../../core/exact-json.ts';
import type { PaginationConfig } from '../../../core/rest.ts';
import { atPath } from '../jmespath.ts';
import { type Brakes, repeated } from './brakes.ts';
import type { Pager } from './pager.ts';
import { teller, usualSizes } from './totals.ts';

type KeysetConfig = Extract<PaginationConfig, { readonly type: 'keyset' }>;

/** The last record's field asks for what comes behind it: rows that move do no harm. */
export function keysetPager(config: KeysetConfig, brakes: Brakes): Pager {
  const tell = teller(config.has_more);
  let largest = 0;
  /** A page had several values: it says how many records a full one has. */
  let mixed = false;
  return {
    first: { at: 'first' },
    wantsKeys: false,
    request: (position) => ({
      params: position.at === 'after' ? { [config.param]: position.after } : {},
      in: config.in ?? 'query',
    }),
    after(position, page) {
      const again = brakes.seen(page) !== null;
      const told = tell(page, { rows: null });
      const asked = position.at === 'after' ? position.after : null;
      const nothingNew = (record: unknown): boolean => fieldText(record, config.field) === asked;
      if (asked !== null && page.records > 0 && nothingNew(page.first) && nothingNew(page.last)) {
        // An API that answers with the value itself too ends with a page that holds nothing else. So it looks as well where
        // more records share the value than a page holds; then it is full, as another page was, or as pages often are.
        const full = page.records >= largest && (told === 'more' || mixed || usualSizes.has(page.records));
        if (told === 'end' || !full) return { end: 'nothing comes behind it' };
        throw tied(config.field);
      }
      if (again) throw repeated();
      largest = Math.max(largest, page.records);
      mixed ||= fieldText(page.first, config.field) !== fieldText(page.last, config.field);
      if (page.records === 0) {
        if (told === 'more' && page.skipped === null) throw leadsNowhere();
        return { end: 'a page without records' };
      }
      if (told === 'end') return { end: `"${config.has_more}" says so` };
      const after = fieldText(page.last, config.field);
      if (after === null) {
        throw new MillraceError(
          'response_invalid',
          `The last record of a page has no "${config.field.slice(0, 60)}", which asks for the next page.`,
          {
            hint: '"field" of the pagination names a field that every record has, such as "id".',
          },
        );
      }
      brakes.asked(after);
      return { next: { at: 'after', after } };
    },
    missing: () => null,
    notices: () => [],
    resume: (position) => (position.at === 'after' || position.at === 'first' ? position : null),
  };
}

function tied(field: string): MillraceError {
  return new MillraceError(
    'pagination_loop',
    `At least as many records as a page holds have the same "${field.slice(0, 60)}", and asking for what is behind it brings them again.`,
    {
      hint: 'Ask for larger pages with "rest": {"params": …}, or set "field" of the pagination to one that differs from record to record, such as "id".',
    },
  );
}

function leadsNowhere(): MillraceError {
  return new MillraceError(
    'response_invalid',
    'The API says that there is more, and answered with a page without records: none of them asks for the next page.',
    {
      hint: 'Set "has_more" in "pagination" to what is false or empty on the last page, or use another kind of "pagination".',
    },
  );
}

/** The text of a record's field, given by name or as a path with dots; null when it has none. */
function fieldText(record: unknown, field: string): string | null {
  const value = atPath(record, [field]) ?? atPath(record, field.split('.'));
  if (isRaw(value)) return value.rawJSON;
  return typeof value === 'string' || typeof value === 'number' ? String(value) : null;
}
