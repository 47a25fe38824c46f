import { MillraceError } from '../../../core/errors.ts';
import { isRaw } from '../../../core/exact-json.ts';
import type { PaginationConfig } from '../../../core/rest.ts';
import { expression, truthy } from '../jmespath.ts';
import { type Brakes, repeated } from './brakes.ts';
import { nextLink } from './link-header.ts';
import type { Next, PagePosition, Pager, PagerOptions, RawPage } from './pager.ts';
import { teller } from './totals.ts';

type CursorConfig = Extract<PaginationConfig, { readonly type: 'cursor' }>;
type NextUrlConfig = Extract<PaginationConfig, { readonly type: 'next_url' }>;

/** An opaque cursor, in the body or a header. */
export function cursorPager(config: CursorConfig, brakes: Brakes): Pager {
  const find = config.next === undefined ? null : expression(config.next);
  const tell = teller(config.has_more);
  return {
    first: { at: 'first' },
    wantsKeys: false,
    request: (position) => ({
      params: position.at === 'cursor' ? { [config.cursor_param]: position.cursor } : {},
      in: config.in ?? 'query',
    }),
    after(_, page) {
      if (brakes.seen(page)) throw repeated();
      if (tell(page, { rows: null }) === 'end') return { end: `"${config.has_more}" says so` };
      const given =
        config.next_header === undefined
          ? (find?.(page.envelope()) ?? null)
          : page.header(config.next_header);
      const cursor = cursorText(given);
      if (cursor === null) return { end: 'there is no further cursor' };
      brakes.asked(cursor);
      return { next: { at: 'cursor', cursor } };
    },
    missing: () => null,
    notices: () => [],
    resume: (position) => (position.at === 'cursor' || position.at === 'first' ? position : null),
  };
}

/** `false`, `0`-less: what ends a list is absent, null, false or empty. Objects are sent as JSON, as Elasticsearch wants it. */
function cursorText(given: unknown): string | null {
  if (!truthy(given)) return null;
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
    return typeof given === 'string' && given !== '' ? given : null;
  });
}

function urlPager(
  brakes: Brakes,
  { url: base, withoutCredentials = (url) => url }: PagerOptions,
  find: (page: RawPage) => string | null,
): Pager {
  const bare = (url: URL): string => withoutCredentials(url).href;
  return {
    first: { at: 'first' },
    wantsKeys: false,
    request: (position) => ({
      params: {},
      in: 'query',
      ...(position.at === 'url' ? { url: position.url } : {}),
    }),
    after(_, page): Next {
      if (brakes.seen(page)) throw repeated();
      const given = find(page);
      if (given === null) return { end: 'there is no further address' };
      const url = bare(followed(given, page.url, base));
      brakes.asked(url);
      return { next: { at: 'url', url } };
    },
    missing: () => null,
    notices: () => [],
    resume(position: PagePosition) {
      if (position.at === 'first') return position;
      const url = position.at === 'url' ? URL.parse(position.url) : null;
      return url?.origin === base.origin ? { at: 'url', url: bare(url) } : null;
    },
  };
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
