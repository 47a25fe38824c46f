/** One page on its way in: asked for, its status judged, its format known, its bytes as UTF-8. */

import { MillraceError } from '../../core/errors.ts';
import { parseExact } from '../../core/exact-json.ts';
import type { ResponseRule } from '../../core/rest.ts';
import { plain } from '../sql/names.ts';
import { detectFormat, type KnownFormat, sniffBytes, xmlEncoding } from './formats/detect.ts';
import { asUtf8, charsetOf } from './formats/text.ts';
import type { HttpClient, HttpRequest, HttpResponse } from './http/client.ts';
import { SendAgain, serverTime } from './http/retries.ts';
import { refusalOf } from './http/status.ts';
import type { Missing } from './pagination/pager.ts';
import type { StreamPlan } from './plan.ts';
import { type Rules, ruledFailure } from './rules.ts';

/** A page whose answer has begun. Close it, read or not: until then it holds a turn at the host. */
export interface OpenPage {
  readonly status: number;
  readonly url: URL;
  readonly contentType: string | null;
  header(name: string): string | null;
  /** Null when there is no body to read: the rule that said so, or an answer without content. */
  readonly content: {
    readonly format: KnownFormat;
    readonly why: string;
    readonly body: AsyncIterable<Buffer>;
  } | null;
  readonly rule: ResponseRule | null;
  /** The body that a rule passes over, as a value: it may say where the next page is. */
  readonly passedOver?: unknown;
  /** Why it is no error that the API has nothing at this position; null where there is an answer. */
  readonly missing: string | null;
  /** The whole body is here already. */
  readonly complete: boolean;
  /** When the answer was made, by the server's clock where it says; ms. */
  readonly at: number;
  /** How far the server's clock is ahead of ours; null when it does not say, or a cache answered. */
  readonly skewMs: number | null;
  close(): void;
}

export interface ExchangeOptions {
  readonly client: HttpClient;
  readonly plan: StreamPlan;
  readonly rules: Rules;
  /** What a status of 400 and above means here, as the pager's `missing`. */
  readonly missing: (status: number) => Missing;
  /** Bodies up to this size are taken in whole before anything is done with them: a break in them is asked for again. */
  readonly holdBytes?: number;
}

/** What waits for its turn is held up to here. */
export const holdBytesUsual = 1024 * 1024;

/** Sends a request and waits until its answer is here, or is larger than what is held. */
export async function openPage(
  options: ExchangeOptions,
  request: HttpRequest,
  signal: AbortSignal,
): Promise<OpenPage> {
  const { client, rules, missing } = options;
  const opened = Promise.withResolvers<OpenPage>();
  const closed = Promise.withResolvers<void>();
  const onStatus: HttpRequest['onStatus'] = (status) =>
    rules.onStatus(status) ?? (missing(status) === null ? undefined : 'return');
  const asked = client.ask(
    { ...request, onStatus },
    async (response) => {
      const held = await hold(response.body, options.holdBytes ?? holdBytesUsual);
      opened.resolve(begun(options, { request, response, held, close: closed.resolve }));
      if (held.rest !== null) await closed.promise;
    },
    signal,
  );
  asked.then(undefined, opened.reject);
  return await opened.promise;
}

interface Held {
  readonly chunks: readonly Buffer[];
  /** What is still to come; null when nothing is. */
  readonly rest: AsyncIterator<Uint8Array> | null;
}

async function hold(body: AsyncIterable<Uint8Array>, most: number): Promise<Held> {
  const iterator = body[Symbol.asyncIterator]();
  const chunks: Buffer[] = [];
  let size = 0;
  while (size <= most) {
    const next = await iterator.next();
    if (next.done === true) return { chunks, rest: null };
    chunks.push(Buffer.from(next.value.buffer, next.value.byteOffset, next.value.byteLength));
    size += next.value.byteLength;
  }
  return { chunks, rest: iterator };
}

interface Begun {
  readonly request: HttpRequest;
  readonly response: HttpResponse;
  readonly held: Held;
  readonly close: () => void;
}

/** Judges status and format. Throws what the answer means; `SendAgain` where a rule asks for it. */
function begun(
  { client, plan, rules, missing }: ExchangeOptions,
  { request, response, held, close }: Begun,
): OpenPage {
  const { status, url, headers } = response;
  const contentType = headers.get('content-type');
  const head = beginning(held.chunks, sniffBytes);
  const page = {
    status,
    url,
    contentType,
    header: (name: string) => headers.get(name),
    complete: held.rest === null,
    at: serverTime(headers, Date.now()),
    skewMs: skewOf(headers.get('date'), headers.get('age')),
    close,
  };
  const looked = status >= 400 || (rules.lookInto && held.rest === null) ? wholeValue(held) : undefined;
  const rule = rules.judge(status, looked);
  if (rule !== null) {
    const failure = (): Error => ruledFailure(rule, status, { page: looked, clean: client.clean });
    if (rule.do === 'retry') throw new SendAgain(failure() as ConstructorParameters<typeof SendAgain>[0]);
    if (rule.do === 'fail') throw failure();
    const passedOver = rule.do === 'skip' ? (looked ?? wholeValue(held)) : undefined;
    return { ...page, content: null, rule, passedOver, missing: null };
  }
  if (status >= 400) {
    const why = missing(status);
    if (why instanceof MillraceError) throw why;
    if (why !== null) return { ...page, content: null, rule: null, missing: why };
    const place = `${request.method} ${client.clean(plain(url.href, 300))}`;
    const said = plain(client.clean(head.toString('utf8')), 300);
    throw refusalOf({ status, place, said, rateLimited: false, retryAfterMs: null, atHome: true });
  }
  if (status === 204 || status === 205) return { ...page, content: null, rule: null, missing: null };
  const { format, why } = detectFormat(plan.format, contentType, head);
  const header = charsetOf(contentType) ?? (format === 'xml' ? xmlEncoding(head) : null);
  const body = asUtf8(chain(held), { declared: plan.charset, header });
  return { ...page, content: { format, why, body }, rule: null, missing: null };
}

/** Whether a status says that there is nothing, or nothing any more. */
export function isGone(status: number): boolean {
  return status === 404 || status === 410;
}

/** So many of the first bytes: a large page is not copied for a look at how it begins. */
function beginning(chunks: readonly Buffer[], most: number): Buffer {
  let size = 0;
  const end = chunks.findIndex((chunk) => {
    size += chunk.length;
    return size >= most;
  });
  return Buffer.concat(end === -1 ? chunks : chunks.slice(0, end + 1)).subarray(0, most);
}

async function* chain({ chunks, rest }: Held): AsyncGenerator<Uint8Array, void, void> {
  yield* chunks;
  if (rest === null) return;
  for (;;) {
    const next = await rest.next();
    if (next.done === true) return;
    yield next.value;
  }
}

/** The body as JSON, for rules; undefined when it is none. */
function wholeValue({ chunks, rest }: Held): unknown {
  if (rest !== null) return undefined;
  try {
    return parseExact(Buffer.concat(chunks).toString('utf8'));
  } catch {
    return undefined;
  }
}

/** The header has whole seconds, which were some time ago when it arrived: less than two say nothing. */
function skewOf(date: string | null, age: string | null): number | null {
  const skewMs = Date.parse(date ?? '') - Date.now();
  if (Number.isNaN(skewMs) || age !== null) return null;
  return Math.abs(skewMs) < 2_000 ? 0 : skewMs;
}
