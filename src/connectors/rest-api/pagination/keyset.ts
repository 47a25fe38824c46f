import { MillraceError } from '../../../core/errors.ts';
import { isRaw } from '../../../core/exact-json.ts';
import type { PaginationConfig } from '../../../core/rest.ts';
import { atPath } from '../jmespath.ts';
import { type Brakes, repeated } from './brakes.ts';
import type { Pager } from './pager.ts';
import { teller } from './totals.ts';

type KeysetConfig = Extract<PaginationConfig, { readonly type: 'keyset' }>;

/** The last record's field asks for what comes behind it: rows that move do no harm. */
export function keysetPager(config: KeysetConfig, brakes: Brakes): Pager {
  const tell = teller(config.has_more);
  return {
    first: { at: 'first' },
    wantsKeys: false,
    request: (position) => ({
      params: position.at === 'after' ? { [config.param]: position.after } : {},
      in: config.in ?? 'query',
    }),
    after(position, page) {
      const again = brakes.seen(page);
      // An API that answers with the value itself too ends with a page that holds nothing else.
      const asked = position.at === 'after' ? position.after : null;
      const nothingNew = (record: unknown): boolean => fieldText(record, config.field) === asked;
      if (asked !== null && page.records > 0 && nothingNew(page.first) && nothingNew(page.last))
        return { end: 'nothing comes behind it' };
      if (again) throw repeated();
      if (page.records === 0) return { end: 'a page without records' };
      if (tell(page, { rows: null }) === 'end') return { end: `"${config.has_more}" says so` };
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

/** The text of a record's field, given by name or as a path with dots; null when it has none. */
function fieldText(record: unknown, field: string): string | null {
  const value = atPath(record, [field]) ?? atPath(record, field.split('.'));
  if (isRaw(value)) return value.rawJSON;
  return typeof value === 'string' || typeof value === 'number' ? String(value) : null;
}
