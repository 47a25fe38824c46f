import type { IncomingMessage } from 'node:http';
import { MillraceError } from '../core/errors.ts';
import type { Log } from '../log.ts';
import { askPage, cookieName, fieldName, pathOf, secretCharsMax, sentencePage } from './ask-page.ts';
import { isSame, type OpenQuestion, type Questions } from './questions.ts';
import { createRate } from './rate.ts';
import type { Answer } from './reply.ts';

export interface AskAnswersOptions {
  readonly questions: Questions;
  /** `http://127.0.0.1:PORT`. */
  readonly origin: string;
  readonly logger: Pick<Log, 'error'>;
  /** Aborted when the program ends. */
  readonly signal: AbortSignal;
  /** Told when a question has been answered for good. */
  readonly onDone: (question: OpenQuestion) => void;
}

const bodyMaxBytes = 16 * 1024;
/** Addresses that lead nowhere, a second. Whoever has the right one is let in all the same. */
const wrongPerSecond = 4;

/** What the pages answer. Judged in one order: host, address, origin, size, form; what was typed comes last. */
export function createAskAnswers(options: AskAnswersOptions): (request: IncomingMessage) => Promise<Answer> {
  const { questions, origin } = options;
  const wrong = createRate(wrongPerSecond);
  return async (request) => {
    // A name that was made to point here (DNS rebinding) is not the address that we gave.
    if (request.headers.host !== new URL(origin).host)
      return sentencePage(403, 'This is not the address of the link.');
    const nonce = /^\/ask\/([A-Za-z0-9_-]{43})$/.exec(request.url ?? '')?.[1];
    const question = nonce === undefined ? undefined : questions.find(nonce);
    if (question === undefined) {
      const wait = await wrong('');
      return wait === null
        ? sentencePage(
            404,
            'Nothing is asked here (any more). A link holds for ten minutes and one answer; the assistant can give a new one.',
          )
        : sentencePage(429, 'Too many wrong links.', { 'retry-after': String(wait) });
    }
    if (request.method === 'GET') return askPage(question);
    if (request.method !== 'POST')
      return sentencePage(405, 'Only GET and POST here.', { allow: 'GET, POST' });
    return await submit(request, question, options);
  };
}

async function submit(
  request: IncomingMessage,
  question: OpenQuestion,
  options: AskAnswersOptions,
): Promise<Answer> {
  if (!isOwnPage(request, options.origin))
    return sentencePage(403, 'Only this page itself may send its form.');
  const body = await bodyOf(request);
  if (body === null)
    return sentencePage(413, `More than ${bodyMaxBytes / 1024} KB is no credential. Nothing was kept.`);
  const form = new URLSearchParams(body);
  if (!isSame(question.formToken, form.get('token') ?? '') || !isSame(question.cookie, cookieOf(request)))
    return sentencePage(
      403,
      'The form was not sent from the page as it was opened, or the browser keeps no cookies. Open the link again.',
    );
  if (question.outcome?.done !== true) {
    question.work ??= typed(question, form, options).finally(() => delete question.work);
    await question.work;
  }
  // The answer to a form stays in a browser's memory together with what was sent, so that it can be sent again; this one does not.
  return { status: 303, headers: { location: pathOf(question) }, body: '' };
}

/** Hands over what was typed; how that went stands in the question. */
async function typed(
  question: OpenQuestion,
  form: URLSearchParams,
  { logger, signal, onDone }: AskAnswersOptions,
): Promise<void> {
  const values = new Map(
    question.asked.fields.map((field, index) => [field, form.get(fieldName(index)) ?? '']),
  );
  const isWrong = [...values.values()].some((value) => value === '' || value.length > secretCharsMax);
  if (isWrong) {
    question.outcome = {
      done: false,
      words: `Each field takes 1 to ${secretCharsMax} characters. Nothing was kept.`,
    };
    return;
  }
  try {
    question.outcome = await question.asked.onTyped(values, signal);
  } catch (error) {
    if (!(error instanceof MillraceError))
      logger.error({ event: 'ask_failed', error }, 'what was typed was not taken');
    const words =
      error instanceof MillraceError
        ? `${error.message} ${error.hint}`
        : 'Something went wrong here; the log says what.';
    question.outcome = { done: false, words };
  }
  if (question.outcome.done) onDone(question);
}

/** A browser of these days says where a form comes from; one that does not says at least from which site. */
function isOwnPage({ headers }: IncomingMessage, origin: string): boolean {
  const site = headers['sec-fetch-site'];
  if (site !== undefined && site !== 'same-origin') return false;
  // Under `no-referrer` browsers send "null" for the page's own forms too: there the other header has to vouch.
  return (
    headers.origin === undefined ||
    headers.origin === origin ||
    (headers.origin === 'null' && site === 'same-origin')
  );
}

/** Null when it is too long; the rest is read and forgotten, for who is still sending hears no answer. */
async function bodyOf(request: IncomingMessage): Promise<string | null> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes <= bodyMaxBytes) parts.push(part);
  }
  return bytes > bodyMaxBytes ? null : Buffer.concat(parts).toString('utf8');
}

function cookieOf({ headers }: IncomingMessage): string {
  const pairs = (headers.cookie ?? '').split(/; */);
  return pairs.find((pair) => pair.startsWith(`${cookieName}=`))?.slice(cookieName.length + 1) ?? '';
}
