import { MillraceError } from '../../../core/errors.ts';
import { isRaw } from '../../../core/exact-json.ts';
import type { PaginationConfig } from '../../../core/rest.ts';
import { expression } from '../jmespath.ts';
import { type Brakes, cameAgain, repeated } from './brakes.ts';
import { nextLink } from './link-header.ts';
import type { Led, Next, PagePosition, Pager, PagerOptions, RawPage } from './pager.ts';
import { denies, teller } from './totals.ts';

type CursorConfig = Extract<PaginationConfig, { readonly type: 'cursor' }>;
type NextUrlConfig = Extract<PaginationConfig, { readonly type: 'next_url' }>;

/** How a list leads on: by a word for the next page, which each page has with it. */
interface Lead {
  readonly tell: ReturnType<typeof teller>;
  readonly request: Pager['request'];
  /** Where a page leads to; null when it does not lead on. */
  readonly find: (page: RawPage) => string | null;
  readonly position: (to: string, led: Led) => PagePosition;
  readonly ended: string;
  readonly resume: (position: PagePosition) => PagePosition | null;
}

function ledPager(brakes: Brakes, lead: Lead): Pager {
  const notices = new Set<string>();
  let led: string | null = null;
  /** Null: not known, behind what an interrupted reading left. */
  let read: number | null = 0;
  return {
    first: { at: 'first' },
    wantsKeys: false,
    request: lead.request,
    after(_, page): Next {
      const again = brakes.seen(page);
      if (again === null && read !== null) read += page.records;
      const told = lead.tell(page, { rows: read });
      if (told === 'end') return { end: 'the API says that there is no more' };
      const to = lead.find(page);
      if (to === null) return { end: lead.ended };
      if (again !== null) {
        if (!cameAgain(again, told, brakes.moved)) throw repeated();
        if (told === null)
          notices.add('The API sent from a page to that page again, which was taken for the last one.');
        return { end: 'the last page came again' };
      }
      // A scroll keeps its word to the end, and an API that always has one leads on from nothing to the same nothing.
      if (page.records === 0 && to === led && told !== 'more') return { end: 'a page without records' };
      brakes.asked(to, page);
      const scroll = to === led;
      led = to;
      return { next: lead.position(to, { before: brakes.last, moved: brakes.moved, scroll }) };
    },
    missing: () => null,
    notices: () => [...notices],
    resume(position) {
      const at = lead.resume(position);
      if (at?.at !== 'cursor' && at?.at !== 'url') return at;
      // What had been asked for and has not landed would be missing.
      if (at.scroll) return null;
      brakes.left(at.before, at.moved);
      led = at.at === 'cursor' ? at.cursor : at.url;
      read = null;
      return at;
    },
  };
}

/** An opaque cursor, in the body or a header. */
export function cursorPager(config: CursorConfig, brakes: Brakes): Pager {
  const find = config.next === undefined ? null : expression(config.next);
  return ledPager(brakes, {
    tell: teller(config.has_more),
    request: (position) => ({
      params: position.at === 'cursor' ? { [config.cursor_param]: position.cursor } : {},
      in: config.in ?? 'query',
    }),
    find: (page) =>
      cursorText(
        config.next_header === undefined
          ? (find?.(page.envelope()) ?? null)
          : page.header(config.next_header),
      ),
    position: (cursor, led) => ({ at: 'cursor', cursor, ...led }),
    ended: 'there is no further cursor',
    resume: (position) => (position.at === 'cursor' || position.at === 'first' ? position : null),
  });
}

/** Null where a list ends. Objects are sent as JSON, as Elasticsearch wants it. */
function cursorText(given: unknown): string | null {
  if (denies(given)) return null;
  if (typeof given === 'string') return given;
  if (isRaw(given)) return given.rawJSON;
  return typeof given === 'object' ? JSON.stringify(given) : String(given);
}

/** `Link: <…>; rel="next"` (RFC 8288). */
export function linkHeaderPager(brakes: Brakes, way: PagerOptions): Pager {
  return urlPager(brakes, way, (page) => nextLink(page.header('link')));
}

/** The address of the next page in the body. */
export function nextUrlPager(config: NextUrlConfig, brakes: Brakes, way: PagerOptions): Pager {
  const find = expression(config.next);
  return urlPager(brakes, way, (page) => {
    const given = find(page.envelope());
    return typeof given === 'string' && !denies(given) ? given : null;
  });
}

function urlPager(
  brakes: Brakes,
  { url: base, withoutCredentials = (url) => url }: PagerOptions,
  find: (page: RawPage) => string | null,
): Pager {
  const bare = (url: URL): string => withoutCredentials(url).href;
  return ledPager(brakes, {
    tell: teller(undefined),
    request: (position) => ({
      params: {},
      in: 'query',
      ...(position.at === 'url' ? { url: position.url } : {}),
    }),
    find(page) {
      const given = find(page);
      return given === null ? null : bare(followed(given, page.url, base));
    },
    position: (url, led) => ({ at: 'url', url, ...led }),
    ended: 'there is no further address',
    resume(position) {
      if (position.at === 'first') return position;
      const url = position.at === 'url' ? URL.parse(position.url) : null;
      return position.at === 'url' && url?.origin === base.origin ? { ...position, url: bare(url) } : null;
    },
  });
}

/**
 * The next address, made whole. It stays where the connector was registered for: a link to another host would carry the
 * reading away from where its credentials belong. A server behind a proxy often writes http for itself; that is mended.
 */
function followed(given: string, page: URL, base: URL): URL {
  const url = URL.parse(given, page.href);
  if (url !== null) {
    if (
      url.protocol === 'http:' &&
      url.port === '' &&
      base.protocol === 'https:' &&
      url.hostname === base.hostname
    ) {
      url.protocol = 'https:';
      url.port = base.port;
    }
    url.username = '';
    url.password = '';
    url.hash = '';
    if (url.origin === base.origin) return url;
  }
  throw new MillraceError(
    'host_not_allowed',
    `The next page is said to be at ${url === null ? 'something that is no address' : url.origin}, and the connector is for ${base.origin}.`,
    { hint: 'If both belong to the API, register the connector with the base_url that the links name.' },
  );
}
