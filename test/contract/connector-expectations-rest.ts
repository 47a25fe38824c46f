import type { Expectations } from './connector-expecting.ts';

/** What an API over HTTP has of its own, and the reason for each difference from a database. */
export const restExpectations: Expectations = {
  has: {
    sql: 'an API is asked by path and parameters',
    grants: 'no API says how its rights are given',
    transactions:
      'what an API shows is there for everybody; what comes late is held off by the mark’s distance',
    catalogue: 'columns are learnt from the records that come, and a description need not be true',
    counts: 'pages are no snapshot, so nothing could be counted in it',
    'null cursors': 'what has no value is not newer than one: the API decides, and this one leaves it out',
    decimals: 'JSON has none; this API writes them as texts',
  },
  questions: 75,
  guard: "pages follow the API's own positions; mark at least 60 s before the reading began",
  check: {
    version: null,
    stages: ['reach', 'tls', 'auth', 'format', 'pagination', 'rate limits'],
    // One cheap request: a second stream is not asked for where the first one failed.
    missing: [
      ['reach', true],
      ['tls', true],
      ['auth', true],
      ['path', false],
    ],
    warned: [/travel unencrypted/, /Mode "merge" was chosen/],
  },
  // An API does not list what is gone.
  detectsDeletes: false,
  oddName: 'é€😀',
  types: {
    integer: 'integer',
    big: 'integer',
    decimal: 'text',
    name: 'text',
    text: 'text',
    stamp: 'timestamptz',
    moment: 'timestamp',
    day: 'date',
    bytes: null,
    unordered: 'json',
  },
  columns: 'learnt',
  // Some APIs answer with what is later than a value and not with what is equal, or compare whole seconds.
  behindMicros: 1_000_000,
  // The page that was left: its records stand in no order that could be gone on in.
  again: 400,
  // Pages have no order that is known to be one: until a reading is complete, all that it read may come again.
  remembered: 4_000,
  wrong: [
    {
      what: 'nothing listens',
      config: { base_url: 'http://127.0.0.1:1' },
      code: 'host_unreachable',
      stages: ['reach'],
    },
    {
      what: 'no such host',
      config: { base_url: 'http://no-such-host.invalid' },
      code: 'host_unreachable',
      stages: ['reach'],
    },
    {
      what: 'link-local',
      config: { base_url: 'http://169.254.169.254' },
      code: 'host_not_allowed',
      stages: ['reach'],
    },
    {
      what: 'a wrong token',
      config: { auth: { type: 'bearer', token: 'wrong' } },
      code: 'auth_failed',
      stages: ['reach', 'tls', 'auth'],
    },
    {
      what: 'no token',
      config: { auth: { type: 'none' } },
      code: 'auth_failed',
      stages: ['reach', 'tls', 'auth'],
    },
    {
      what: 'a token without rights',
      config: { auth: { type: 'bearer', token: 'barred' } },
      code: 'permission_denied',
      stages: ['reach', 'tls', 'auth'],
    },
  ],
  // Asked again three times, each time after a longer pause: that is what takes so long here and below.
  deaf: { config: { timeout_ms: 100 }, code: 'timeout', setting: 'timeout_ms', withinMs: 10_000 },
  strangers: [
    { what: 'mail', says: '220 mail.example.com ESMTP\r\n', config: { timeout_ms: 1_000 } },
    { what: 'one that hangs up', says: '', config: { timeout_ms: 1_000 } },
  ],
  impatient: { config: { timeout_ms: 300 }, withinMs: 15_000 },
  crowd: { rate_limit: { concurrency: 4 } },
  refused: [
    { stream: { path: '/poeple' }, code: 'not_found_at_source', hint: /path of the stream/ },
    { stream: { path: '/people', deletes: 'detect' }, code: 'invalid_config', hint: /replace/ },
    {
      stream: { path: '/people', rest: { pagination: { type: 'auto' }, records: 'data[' } },
      code: 'invalid_config',
      hint: /data\.items/,
    },
    {
      stream: { path: '/people', cursor: 'updated_at', primary_key: ['empty'], rest: { records: 'data' } },
      code: 'key_not_unique',
      hint: /primary_key/,
    },
  ],
  shared: /^Two records on the first page of \/dup share 1, so \(k\) is no key\.$/,
  keys: [
    ['integer', '#'],
    ['long integer', '90071992547409#'],
    ['text', '"\\"\'\\\\#"'],
    ['text beyond ASCII', '"Ä😀#"'],
    ['moment', '"2024-01-01T00:00:00.#1Z"'],
    ['number that is no integer', '0.#1'],
  ],
  hostile: [],
  failing: 'response_invalid',
  // A request that breaks is sent again.
  cut: null,
  closed: 'cancelled',
};
