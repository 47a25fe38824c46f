/**
 * The guide `millrace://guides/rest`: short, complete examples, one for each way of authentication and of paging. They are
 * data, because tests register every one of them and read with it from a server that speaks that way.
 */

import type { ConnectorGuide, GuideExample } from '../connector.ts';

const base = 'https://api.example.com/v1';

/** Complete arguments of register_connector. */
export const restExamples: readonly GuideExample[] = [
  {
    shows: 'no auth; offset and limit; everything read anew each time',
    connector: {
      name: 'catalogue',
      type: 'rest_api',
      config: { base_url: base },
      streams: [
        {
          name: 'products',
          path: '/products',
          primary_key: ['id'],
          rest: {
            records: 'items',
            pagination: { type: 'offset', limit_param: 'limit', offset_param: 'offset', limit: 100 },
          },
        },
      ],
    },
  },
  {
    shows: 'bearer token; Link header; only what changed since, merged by key',
    connector: {
      name: 'code',
      type: 'rest_api',
      config: {
        base_url: base,
        auth: { type: 'bearer', token: '${env:MILLRACE_CODE_TOKEN}' },
        headers: { Accept: 'application/json' },
        pagination: { type: 'link_header' },
      },
      streams: [
        {
          name: 'issues',
          path: '/issues',
          mode: 'merge',
          primary_key: ['id'],
          cursor: 'updated_at',
          lookback: '5m',
          rest: { params: { state: 'all', per_page: 100 }, cursor_param: 'since', cursor_format: 'iso' },
        },
      ],
    },
  },
  {
    shows: 'key in a header; numbered pages; at most 5 requests a second',
    connector: {
      name: 'desk',
      type: 'rest_api',
      config: {
        base_url: base,
        auth: { type: 'api_key', in: 'header', name: 'X-Api-Key', value: '${env:MILLRACE_DESK_KEY}' },
        rate_limit: { requests_per_second: 5, concurrency: 1 },
      },
      streams: [
        {
          name: 'tickets',
          path: '/tickets',
          primary_key: ['id'],
          rest: {
            records: 'data',
            pagination: { type: 'page', page_param: 'page', size_param: 'per_page', size: 100 },
          },
        },
      ],
    },
  },
  {
    shows: 'key in the query string; one CSV file',
    connector: {
      name: 'rates',
      type: 'rest_api',
      config: {
        base_url: base,
        auth: { type: 'api_key', in: 'query', name: 'key', value: '${env:MILLRACE_RATES_KEY}' },
      },
      streams: [
        {
          name: 'daily',
          path: '/daily.csv',
          rest: { format: 'csv', csv: { delimiter: ';' }, pagination: { type: 'none' } },
        },
      ],
    },
  },
  {
    shows: 'user and password; the body holds the next URL; nested objects as columns',
    connector: {
      name: 'erp',
      type: 'rest_api',
      config: {
        base_url: base,
        auth: {
          type: 'basic',
          username: '${env:MILLRACE_ERP_USER}',
          password: '${env:MILLRACE_ERP_PASSWORD}',
        },
      },
      streams: [
        {
          name: 'partners',
          path: '/partners',
          primary_key: ['id'],
          rest: { records: 'results', flatten: 1, pagination: { type: 'next_url', next: 'links.next' } },
        },
      ],
    },
  },
  {
    shows: 'headers of its own kind; the way it pages found by looking',
    connector: {
      name: 'forum',
      type: 'rest_api',
      config: {
        base_url: base,
        auth: { type: 'headers', headers: { Authorization: 'Token ${env:MILLRACE_FORUM_TOKEN}' } },
      },
      streams: [{ name: 'posts', path: '/posts', rest: { pagination: { type: 'auto' } } }],
    },
  },
  {
    shows: 'OAuth2 client credentials; a cursor in the body',
    connector: {
      name: 'billing',
      type: 'rest_api',
      config: {
        base_url: base,
        auth: {
          type: 'oauth2_client_credentials',
          token_url: 'https://auth.example.com/token',
          client_id: 'millrace',
          client_secret: '${env:MILLRACE_BILLING_SECRET}',
          scope: 'invoices.read',
        },
      },
      streams: [
        {
          name: 'invoices',
          path: '/invoices',
          primary_key: ['id'],
          cursor: 'updated_at',
          rest: {
            records: 'data',
            params: { limit: 100 },
            pagination: { type: 'cursor', cursor_param: 'cursor', next: 'meta.next_cursor' },
            cursor_param: 'updated_after',
            cursor_format: 'iso',
          },
        },
      ],
    },
  },
  {
    shows:
      'OAuth2 refresh token; the last id asks for the next page; the list in each order as rows of their own',
    connector: {
      name: 'shop',
      type: 'rest_api',
      config: {
        base_url: base,
        auth: {
          type: 'oauth2_refresh_token',
          token_url: 'https://auth.example.com/token',
          client_id: 'millrace',
          client_secret: '${env:MILLRACE_SHOP_SECRET}',
          refresh_token: '${env:MILLRACE_SHOP_REFRESH}',
        },
        pagination: { type: 'keyset', param: 'starting_after', field: 'id', has_more: 'has_more' },
      },
      streams: [
        { name: 'orders', path: '/orders', primary_key: ['id'], rest: { records: 'data' } },
        {
          name: 'order_lines',
          path: '/orders',
          primary_key: ['order_id', 'sku'],
          rest: { records: 'data', explode: { field: 'lines', keep: { order_id: 'id' } } },
        },
      ],
    },
  },
  {
    shows: 'one request a row of another stream; an order without lines answers 404',
    connector: {
      name: 'store',
      type: 'rest_api',
      config: { base_url: base, pagination: { type: 'none' } },
      streams: [
        { name: 'orders', path: '/orders', primary_key: ['id'], rest: { records: 'data' } },
        {
          name: 'lines',
          path: '/orders/{order_id}/lines',
          primary_key: ['orders_id', 'sku'],
          rest: {
            parent: { stream: 'orders', field: 'id', param: 'order_id' },
            responses: [{ status: 404, do: 'skip' }],
          },
        },
      ],
    },
  },
  {
    shows: 'a search by POST; windows of a week; errors that come with status 200',
    connector: {
      name: 'logs',
      type: 'rest_api',
      config: {
        base_url: base,
        responses: [{ when: 'error', do: 'fail', message: 'error.text' }],
      },
      streams: [
        {
          name: 'events',
          path: '/search',
          mode: 'merge',
          primary_key: ['id'],
          cursor: 'at',
          rest: {
            method: 'POST',
            repeatable: true,
            body: { sort: 'at' },
            records: 'hits',
            pagination: { type: 'cursor', cursor_param: 'cursor', next: 'next', in: 'body' },
            cursor_param: 'from',
            cursor_end_param: 'to',
            cursor_format: 'epoch_ms',
            cursor_start: '2026-01-01',
            window: '7d',
          },
        },
      ],
    },
  },
];

const intro = `# REST APIs: declared, not coded

Order of work: read the API's own page; register_connector with base_url, auth and one stream; preview_stream (a look at the first page: rows, types, key, the next request); sync_connector; query_data on <connector>__<stream>. What is left out is found by looking and said: format, the place of the records, pagination, key, mode.

- **Where.** base_url ends before paths begin. A stream's path begins with "/" and never leads to another host. Loopback and private addresses are refused unless network.allowPrivateHttp of the config file names them.
- **Secrets** are references, "\${env:MILLRACE_NAME}" or "\${secret:NAME}", and stand in auth only: never in a URL, a parameter or a header of a stream. They are bound to the host: a changed base_url asks for them again.
- **Records** is JMESPath to the list in a page: "data", "result.items". A page that is a list needs none.
- **Pages.** Declared for the connector or a stream. With auto, the first page decides, and of the lists of a parent each list's own; where it cannot tell, it says so. has_more names what is false on the last page. in: "body" sends the position in the JSON of a POST.
- **Changes.** cursor is the field that follows changes; cursor_param the parameter that its last value is sent in. cursor_format is value, iso, date, epoch_s, epoch_ms, or a text such as "updated:>={iso}". lookback asks a little further back. Without cursor_param every run reads all pages and keeps what is newer. A parent of which no row is here is read whole; with a window, from the mark on.
- **Drift.** A row that is removed, or moves, while pages are read pulls another over the edge of a page. Cursors and keysets do not mind. With offset and a primary_key pages overlap by a row, and the reading goes back where they do not fit. Numbered pages (page) cannot be mended: the row is missed, without a sign, until it changes or a full_refresh reads all again; the run's guard says so. Sort by what does not move, such as the id (rest.params), and choose another pagination where the API has one.
- **Modes.** merge needs a key, append a cursor, replace neither. Records deleted at the API are seen by replace only.
- **Answers** mean what rest.responses says: retry, skip (no rows here; of a first page, or with 404, no list), stop (nor after it), fail.
- **OpenAPI.** With "openapi": "/openapi.json" in the config (OpenAPI 3, JSON or YAML; its URL or text), discover_streams proposes streams with path, records, pagination, key and cursor.

Each example is the arguments of register_connector.`;

/** The guide and its examples. */
export const restGuide: ConnectorGuide = {
  topic: 'rest',
  title: 'REST APIs: examples for each auth and pagination',
  text: () => [intro, ...restExamples.map(sectionOf)].join('\n\n'),
  examples: restExamples,
};

function sectionOf({ shows, connector }: GuideExample): string {
  return `## ${shows.slice(0, 1).toUpperCase()}${shows.slice(1)}\n\n\`\`\`json\n${JSON.stringify(connector, null, 2)}\n\`\`\``;
}
