import type {
  CheckReport,
  Cursor,
  Page,
  PageRequest,
  ResolvedStream,
  Stream,
  StreamInfo,
} from '../../core/model.ts';
import type { Value } from '../../core/types.ts';
import type { OpenOptions, Reading, Source } from '../connector.ts';
import { discreet } from '../discreet.ts';
import { createLoneHost } from '../lone-host.ts';
import { checkRest } from './check.ts';
import { type RestConfig, settingsOf } from './config.ts';
import { discoverRest } from './discover.ts';
import { openClient } from './http/client.ts';
import { parentStream } from './look.ts';
import type { LookedPage } from './looked.ts';
import type { StreamPlan } from './plan.ts';
import { previewRemarks, previewRest } from './preview.ts';
import { openReading } from './read.ts';
import { type ResolvedRest, resolveRest } from './resolve.ts';
import type { RestContext } from './sample.ts';

/** An opened REST connector. Nothing connects before the first question. */
export function openRest(config: RestConfig, options: OpenOptions): Source {
  const settings = settingsOf(config);
  const client = openClient(
    {
      baseUrl: settings.baseUrl,
      auth: settings.auth,
      headers: settings.headers,
      rateLimit: settings.rateLimit,
      timeoutMs: settings.timeoutMs,
      maxPageBytes: settings.maxPageBytes,
      network: options.network ?? { allow: [], allowPrivateHttp: [] },
      proxy: settings.proxy,
      ca: settings.ca,
      answerBy: options.answerWithinMs === undefined ? undefined : performance.now() + options.answerWithinMs,
    },
    options.host ?? createLoneHost(),
  );
  const source = new RestSource({ settings, client, streams: options.streams ?? [] });
  return discreet(source, client.clean);
}

class RestSource implements Source {
  readonly #context: RestContext;
  /** What looking at a stream settled: the reading that follows does not look again. */
  readonly #resolved = new Map<string, ResolvedRest>();
  /** The page of the last look, for the reading that follows it: one at most is held. */
  #looked: { readonly of: string; readonly page: LookedPage | null } | null = null;

  constructor(context: RestContext) {
    this.#context = context;
  }

  check(streams: readonly Stream[], signal: AbortSignal): Promise<CheckReport> {
    return checkRest(this.#context, streams, signal);
  }

  discover(
    request: PageRequest & { readonly search?: string },
    signal: AbortSignal,
  ): Promise<Page<StreamInfo>> {
    return discoverRest(this.#context, request, signal);
  }

  async resolve(stream: Stream, signal: AbortSignal): Promise<ResolvedStream> {
    return (await this.#look(stream, signal)).stream;
  }

  async preview(
    stream: ResolvedStream,
    limit: number,
    signal: AbortSignal,
  ): Promise<readonly (readonly Value[])[]> {
    return previewRest(await this.#known(stream, signal), limit);
  }

  remarks(stream: ResolvedStream): readonly string[] {
    const known = this.#resolved.get(keyOf(stream.declared));
    return known === undefined ? [] : previewRemarks(known);
  }

  async read(
    stream: ResolvedStream,
    from: Cursor | null,
    signal: AbortSignal,
    parents: readonly string[] | null = null,
  ): Promise<Reading> {
    const { plan } = await this.#known(stream, signal);
    const parentPlan = await this.#parentPlan(plan, signal);
    const looked = this.#looked?.of === keyOf(stream.declared) ? this.#looked.page : null;
    this.#looked = null;
    return openReading({
      context: this.#context,
      stream,
      plan,
      parentPlan,
      looked,
      from,
      parents: parents === null ? null : new Set(parents),
      signal,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#context.client[Symbol.asyncDispose]();
  }

  async #look(stream: Stream, signal: AbortSignal): Promise<ResolvedRest> {
    const { looked, ...resolved } = await resolveRest(this.#context, stream, signal);
    this.#resolved.set(keyOf(stream), resolved);
    this.#looked = { of: keyOf(stream), page: looked };
    return resolved;
  }

  async #known(stream: ResolvedStream, signal: AbortSignal): Promise<ResolvedRest> {
    return this.#resolved.get(keyOf(stream.declared)) ?? (await this.#look(stream.declared, signal));
  }

  /** The parent stream with all that is open about it decided, as for its own reading. */
  async #parentPlan(plan: StreamPlan, signal: AbortSignal): Promise<StreamPlan | null> {
    if (plan.parent === null) return null;
    return (await this.#look(parentStream(this.#context, plan.parent), signal)).plan;
  }
}

function keyOf(stream: Stream): string {
  return JSON.stringify(stream);
}
