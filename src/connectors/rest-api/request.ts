/** The request for one page: what the plan says, what the position adds, what the cursor and a parent row ask for. */

import { MillraceError } from '../../core/errors.ts';
import type { PositionPlace } from '../../core/rest.ts';
import { addressOf, type RestSettings } from './config.ts';
import type { HttpRequest } from './http/client.ts';
import type { PageRequest } from './pagination/pager.ts';
import type { StreamPlan } from './plan.ts';

/** What is asked for besides the plan: the same for all pages of one list. */
export interface Asked {
  /** The cursor's bounds, as parameters. */
  readonly bounds: Readonly<Record<string, string>>;
  /** The value of the parent row this list belongs to. */
  readonly parent: string | null;
}

/** A list asked for without bounds and parents. */
export const everything: Asked = { bounds: {}, parent: null };

/** The address of the list itself, before any page. Throws `invalid_config` and `response_invalid`. */
export function listUrl(settings: RestSettings, plan: StreamPlan, { parent }: Asked): URL {
  if (plan.parent === null || plan.parent.in !== 'path' || parent === null)
    return addressOf(settings.baseUrl, plan.path);
  // Dots would walk up the path, also when they are encoded.
  if (parent === '' || parent === '.' || parent === '..') {
    throw new MillraceError(
      'response_invalid',
      `The parent's "${plan.parent.field.slice(0, 60)}" is ${JSON.stringify(parent)}, which cannot stand in a path.`,
      { hint: 'Name another field of the parent stream in rest.parent.' },
    );
  }
  return addressOf(
    settings.baseUrl,
    plan.path.replaceAll(`{${plan.parent.param}}`, encodeURIComponent(parent)),
  );
}

/** The whole request. */
export function pageRequest(
  settings: RestSettings,
  plan: StreamPlan,
  { asked, page }: { readonly asked: Asked; readonly page: PageRequest },
): HttpRequest {
  const body: [string, unknown][] = [];
  const url = page.url === undefined ? listUrl(settings, plan, asked) : new URL(page.url);
  const put = (place: PositionPlace, name: string, value: string | number): void => {
    if (place === 'body') body.push([name, value]);
    else url.searchParams.set(name, String(value));
  };
  // The address of a next page says everything itself.
  if (page.url === undefined) {
    for (const [name, value] of Object.entries(plan.params)) {
      url.searchParams.delete(name);
      for (const one of Array.isArray(value) ? value : [value]) url.searchParams.append(name, String(one));
    }
    for (const [name, value] of Object.entries(asked.bounds)) put(boundPlace(plan), name, value);
    if (plan.parent !== null && plan.parent.in !== 'path' && asked.parent !== null)
      put(plan.parent.in, plan.parent.param, asked.parent);
  }
  for (const [name, value] of Object.entries(page.params)) put(page.in, name, value);
  const text = bodyText(plan, body);
  return {
    method: plan.method,
    url,
    headers: headersFor(plan, text),
    ...(text === null ? {} : { body: text }),
    idempotent: plan.repeatable,
  };
}

/** Bounds go where positions go: a search by POST takes both in its body. */
function boundPlace({ method, body, pagination }: StreamPlan): PositionPlace {
  if (method !== 'POST' || body === null || typeof body === 'string') return 'query';
  return 'in' in pagination && pagination.in === 'query' ? 'query' : 'body';
}

function bodyText(
  { method, body }: StreamPlan,
  more: readonly (readonly [string, unknown])[],
): string | null {
  if (method !== 'POST') return null;
  if (more.length === 0) return body === null || typeof body === 'string' ? body : JSON.stringify(body);
  if (typeof body === 'string') {
    throw new MillraceError('invalid_config', 'A body that is a text takes no further parameters.', {
      hint: 'Write rest.body as a JSON object, or set "in": "query" in rest.pagination.',
    });
  }
  return JSON.stringify(
    more.reduce<unknown>((whole, [name, value]) => withValue(whole, name.split('.'), value), body ?? {}),
  );
}

/** A copy with a value at a path: `page.offset` stands inside of `page`. */
function withValue(whole: unknown, [name = '', ...rest]: readonly string[], value: unknown): unknown {
  const object =
    typeof whole === 'object' && whole !== null ? (whole as Readonly<Record<string, unknown>>) : {};
  const inner =
    rest.length === 0 ? value : withValue(Object.hasOwn(object, name) ? object[name] : null, rest, value);
  return Object.fromEntries([...Object.entries(object).filter(([key]) => key !== name), [name, inner]]);
}

const accepted: Readonly<Record<StreamPlan['format'], string>> = {
  json: 'application/json',
  ndjson: 'application/x-ndjson, application/json;q=0.8',
  csv: 'text/csv, */*;q=0.5',
  xml: 'application/xml, text/xml;q=0.9',
  auto: 'application/json, */*;q=0.5',
};

function headersFor(plan: StreamPlan, body: string | null): Readonly<Record<string, string>> {
  const named = new Set(Object.keys(plan.headers).map((name) => name.toLowerCase()));
  return {
    ...(named.has('accept') ? {} : { accept: accepted[plan.format] }),
    ...(body === null || named.has('content-type')
      ? {}
      : { 'content-type': typeof plan.body === 'string' ? 'text/plain; charset=utf-8' : 'application/json' }),
    ...plan.headers,
  };
}
