import { z } from 'zod';
import { isSecretName } from './redact.ts';
import type { PaginationConfig, ResponseRule, RestStream } from './rest.ts';

const paramName = z.string().min(1).max(200);
const jmesPath = z.string().min(1).max(2_000);
const headerName = z
  .string()
  .regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$/, 'the name of a header holds no spaces or colons');
/** What would end a header early is refused here, before any library has an opinion on it. */
export const headerValue = z
  .string()
  .max(8_000)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  .regex(/^[^\u0000-\u0008\u000a-\u001f\u007f]*$/, 'a header holds no line ends or control characters');

/** Headers by name, values not yet judged. */
export const headersSchema = z.record(headerName, headerValue);

/** Parameters of the query string. */
export const paramsSchema = z.record(
  paramName,
  z.union([
    z.string().max(4_000),
    z.number(),
    z.boolean(),
    z.array(z.union([z.string().max(4_000), z.number()])).max(100),
  ]),
);

const positioned = {
  in: z
    .enum(['query', 'body'])
    .optional()
    .describe('Where the position goes; "body" for searches by POST. Default "query".'),
  has_more: jmesPath
    .optional()
    .describe('JMESPath that is false or absent on the last page, e.g. "has_more".'),
};

/** `pagination`, of a connector or a stream. */
export const paginationSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('none') }).describe('One answer holds everything.'),
  z.strictObject({ type: z.literal('auto') }).describe('Found by looking at the first page.'),
  z
    .strictObject({
      type: z.literal('offset'),
      limit_param: paramName.describe('e.g. "limit"'),
      offset_param: paramName.describe('e.g. "offset"'),
      limit: z.int().min(1).max(1_000_000).describe('Records a page, e.g. 100'),
      ...positioned,
    })
    .describe('?limit=100&offset=200'),
  z
    .strictObject({
      type: z.literal('page'),
      page_param: paramName.describe('e.g. "page"'),
      size_param: paramName.optional().describe('e.g. "per_page"'),
      size: z.int().min(1).max(1_000_000).optional().describe('Records a page, e.g. 100'),
      start: z.int().min(0).max(1).optional().describe('Number of the first page; default 1'),
      ...positioned,
    })
    .describe('?page=3&per_page=100'),
  z
    .strictObject({
      type: z.literal('cursor'),
      cursor_param: paramName.describe('The parameter that takes the cursor, e.g. "page_token"'),
      next: jmesPath.optional().describe('JMESPath to the next cursor, e.g. "meta.next_cursor"'),
      next_header: headerName.optional().describe('Or the header it comes in, e.g. "X-Next-Cursor"'),
      ...positioned,
    })
    .describe('The answer carries an opaque cursor for the next page.'),
  z.strictObject({ type: z.literal('link_header') }).describe('Link: <…>; rel="next"'),
  z
    .strictObject({
      type: z.literal('next_url'),
      next: jmesPath.describe('JMESPath to the next URL, e.g. "links.next"'),
    })
    .describe('The body holds the address of the next page.'),
  z
    .strictObject({
      type: z.literal('keyset'),
      param: paramName.describe('e.g. "starting_after"'),
      field: paramName.describe('Field of the last record that is sent, e.g. "id"'),
      ...positioned,
    })
    .describe('The last record of a page asks for the next.'),
]) as unknown as z.ZodType<PaginationConfig>;

const statusCode = z.int().min(100).max(599);

/** `responses`, of a connector or a stream. */
export const responsesSchema = z
  .array(
    z
      .strictObject({
        status: z.union([statusCode, z.array(statusCode).min(1).max(50)]).optional(),
        when: jmesPath.optional(),
        do: z.enum(['retry', 'skip', 'stop', 'fail']),
        message: jmesPath.optional(),
      })
      .refine((rule) => rule.status !== undefined || rule.when !== undefined, {
        message: 'a rule names a "status", a "when", or both',
      }),
  )
  .max(50)
  .describe(
    'What an answer means, e.g. [{"status":404,"do":"skip"}, {"when":"error","do":"fail","message":"error.text"}].',
  ) as unknown as z.ZodType<readonly ResponseRule[]>;

const braces = /\{([^{}]*)\}/g;
const cursorFormats: ReadonlySet<string> = new Set(['value', 'iso', 'date', 'epoch_s', 'epoch_ms']);
const cursorParts: ReadonlySet<string> = new Set([
  ...cursorFormats,
  ...['YYYY', 'MM', 'DD', 'HH', 'mm', 'ss', 'SSS'],
]);

const cursorFormat = z
  .string()
  .max(200)
  .refine(
    (text) => {
      if (cursorFormats.has(text)) return true;
      const parts = [...text.matchAll(braces)].map((match) => match[1] ?? '');
      return parts.length > 0 && parts.every((part) => cursorParts.has(part));
    },
    {
      message:
        '"value", "iso", "date", "epoch_s" or "epoch_ms"; or a text with {value}, {iso}, {date}, {epoch_s}, {epoch_ms}, {YYYY}, {MM}, {DD}, {HH}, {mm}, {ss}, {SSS} in it, such as "updated:>={iso}"',
    },
  );

const fieldName = z.string().min(1).max(255);

/** `Stream.rest`. Not a place for credentials: what stands here is stored and shown as it is. */
export const restStreamSchema = z
  .strictObject({
    method: z.enum(['GET', 'POST']).optional(),
    params: paramsSchema.optional().describe('Query string, e.g. {"state":"all"}; no credentials'),
    headers: headersSchema.optional(),
    body: z
      .union([z.string().max(100_000), z.record(z.string(), z.unknown())])
      .optional()
      .describe('JSON object or text; needs method POST'),
    records: jmesPath
      .optional()
      .describe('JMESPath to the list in a page, e.g. "data"; found by looking when absent'),
    pagination: paginationSchema.optional(),
    format: z.enum(['json', 'ndjson', 'csv', 'xml', 'auto']).optional(),
    charset: z.string().min(1).max(40).optional(),
    csv: z
      .strictObject({
        delimiter: z.string().min(1).max(3).optional(),
        quote: z.string().length(1).optional(),
        header: z.boolean().optional(),
      })
      .optional(),
    cursor_param: paramName
      .optional()
      .describe('Parameter that takes the last cursor value, e.g. "updated_since"'),
    cursor_format: cursorFormat
      .optional()
      .describe('"value", "iso", "date", "epoch_s", "epoch_ms", or a text such as "updated:>={iso}"'),
    cursor_end_param: paramName
      .optional()
      .describe('Parameter for the end of the time asked for, e.g. "until"'),
    cursor_start: z
      .union([z.string().min(1).max(100), z.number()])
      .optional()
      .describe('Where the first reading begins, e.g. "2020-01-01"'),
    window: z
      .string()
      .regex(/^\d+(\.\d+)?\s*(s|m|h|d)$/, 'a duration such as "1h", "7d"')
      .optional()
      .describe('Slices of time asked for one by one, e.g. "7d"'),
    order: z.enum(['asc', 'desc', 'none']).optional().describe('How the API sorts by the cursor'),
    parent: z
      .strictObject({
        stream: z.string().min(1).max(63),
        field: fieldName,
        param: paramName,
        in: z.enum(['path', 'query', 'body']).optional(),
        column: fieldName.optional(),
        concurrency: z.int().min(1).max(50).optional(),
      })
      .optional()
      .describe('One request a row of another stream: {"stream":"orders","field":"id","param":"order_id"}'),
    explode: z
      .strictObject({ field: fieldName, keep: z.record(fieldName, fieldName).default({}) })
      .optional()
      .describe('A list in each record as rows: {"field":"lines","keep":{"order_id":"id"}}'),
    flatten: z
      .int()
      .min(0)
      .max(10)
      .optional()
      .describe('Levels of nested objects that become columns a_b; 0: they stay JSON'),
    responses: responsesSchema.optional(),
    max_pages: z.int().min(1).max(100_000_000).optional().describe('Brake; 1000000 when absent'),
    repeatable: z.boolean().optional().describe('A POST that only searches may be sent again'),
  })
  .superRefine((rest, context) => {
    const refuse = (path: readonly string[], message: string): void =>
      context.addIssue({ code: 'custom', path: [...path], message });
    for (const part of ['params', 'headers'] as const) {
      for (const [name, value] of Object.entries(rest[part] ?? {})) {
        if (isSecretName(name) && String(value) !== '')
          refuse(
            [part, name],
            'looks like a credential, and a stream is stored and shown as it is; it belongs into "auth" of the connector',
          );
      }
    }
    if (rest.body !== undefined && rest.method !== 'POST') refuse(['body'], 'needs "method": "POST"');
    if (rest.window !== undefined) {
      if (rest.cursor_param === undefined || rest.cursor_end_param === undefined)
        refuse(['window'], 'needs "cursor_param" and "cursor_end_param", which carry its two ends');
      if (rest.cursor_start === undefined) refuse(['window'], 'needs "cursor_start", where the first begins');
    }
    if (rest.cursor_end_param !== undefined && rest.cursor_param === undefined)
      refuse(['cursor_end_param'], 'needs "cursor_param" too');
    if (rest.pagination?.type === 'cursor') oneNext(rest.pagination, refuse);
  }) as unknown as z.ZodType<RestStream>;

/** A cursor comes either in the body or in a header. */
export function oneNext(
  pagination: Extract<PaginationConfig, { type: 'cursor' }>,
  refuse: (path: readonly string[], message: string) => void,
): void {
  if ((pagination.next === undefined) === (pagination.next_header === undefined))
    refuse(['pagination'], 'a cursor has "next" (JMESPath in the body) or "next_header", one of the two');
}

/** `Stream.path`: below the connector's `base_url`, never another host. */
export const pathSchema = z
  .string()
  .min(1)
  .max(2_000)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  .regex(/^\/(?![/\\])[^\\#\u0000-\u0020\u007f]*$/, {
    message: 'begins with one "/" and stands below "base_url": "/v1/orders"; no spaces, no "\\", no "#"',
  })
  .refine((path) => !secretInQuery(path), {
    message: 'holds a credential; give it in "auth" of the connector, which keeps it sealed',
  });

/** Whether the query string of a path or URL has a parameter that credentials go by. */
export function secretInQuery(address: string): boolean {
  const query = address.split('#', 1)[0]?.split('?').slice(1).join('?') ?? '';
  return query.split('&').some((part) => {
    const [name = '', value = ''] = part.split('=');
    return value !== '' && isSecretName(decoded(name));
  });
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
