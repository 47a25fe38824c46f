import { createServer } from 'node:http';
import type { Log } from '../log.ts';
import type { Asks } from '../services/context.ts';
import { pathOf } from './ask-page.ts';
import { close, listen } from './listening.ts';
import { createQuestions } from './questions.ts';
import { harden, text, write } from './reply.ts';

export interface AsksOptions {
  readonly now: () => Date;
  readonly logger: Pick<Log, 'error'>;
}

const host = '127.0.0.1';
/** A form that drips in for longer is given up. */
const requestMs = 30_000;
/** How long an answered question still says that it is, to who reloads its page. */
const afterwardsMs = 60_000;

interface Listening {
  readonly origin: string;
  end(): Promise<void>;
}

/**
 * Pages where people type secrets, for stdio and `serve` alike. They have a listener of their own, on loopback whatever the
 * server is bound to, at a port that was free; it is there only while a question is.
 */
export function createAsks({ now, logger }: AsksOptions): Asks & AsyncDisposable {
  const questions = createQuestions(now);
  const ending = new AbortController();
  let listening: Promise<Listening> | null = null;

  const end = async (): Promise<void> => {
    const last = listening;
    listening = null;
    // What could not listen has said so to who asked.
    await last?.then((server) => server.end()).catch(() => undefined);
  };
  const sweepIn = (ms: number): void => {
    setTimeout(() => sweep(), ms + 1).unref();
  };
  const sweep = (): void => {
    if (questions.sweep() === 0) void end();
  };
  const start = async (): Promise<Listening> => {
    // Loaded with the first question: most processes never ask one, and their clients wait for the start.
    const { createAskAnswers } = await import('./ask-answers.ts');
    const server = createServer();
    const port = await listen(server, { host, port: 0 });
    const origin = `http://${host}:${port}`;
    const answer = createAskAnswers({
      questions,
      origin,
      logger,
      signal: ending.signal,
      onDone: (question) => {
        question.expiresAt = now().getTime() + afterwardsMs;
        sweepIn(afterwardsMs);
      },
    });
    server.requestTimeout = requestMs;
    server.headersTimeout = requestMs;
    server.unref();
    server.on('request', async (request, response) => {
      harden(response);
      // Nothing else is asked for, and a connection that stays would hold up the end.
      response.setHeader('connection', 'close');
      try {
        write(response, await answer(request));
      } catch (error) {
        logger.error({ event: 'ask_failed', error }, 'a page failed');
        write(response, text(500, 'Something went wrong here; the log says what.'));
      }
      sweep();
    });
    return { origin, end: () => close(server) };
  };

  return {
    async open(asked) {
      const question = questions.add(asked);
      listening ??= start();
      const { origin } = await listening.catch((error: unknown) => {
        listening = null;
        throw error;
      });
      sweepIn(question.expiresAt - now().getTime());
      return { url: `${origin}${pathOf(question)}`, expires_at: new Date(question.expiresAt).toISOString() };
    },
    async [Symbol.asyncDispose]() {
      ending.abort(new Error('the program ends'));
      await end();
    },
  };
}
