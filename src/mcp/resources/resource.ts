import type { CacheScope } from '@modelcontextprotocol/server';
import type { Services } from '../../services/services.ts';
import type { Completes } from '../candidates.ts';

/** How long a client may keep what it read. */
export interface Cache {
  readonly ttlMs: number;
  readonly cacheScope: CacheScope;
}

/** Changes with the next run, or the next call. */
export const live: Cache = { ttlMs: 0, cacheScope: 'private' };
/** Does not change any more, but is nobody else's to see. */
export const settled: Cache = { ttlMs: 3_600_000, cacheScope: 'private' };
/** Changes only with the program. */
export const fixed: Cache = { ttlMs: 3_600_000, cacheScope: 'public' };

/** What reading answers: data, which become JSON, or a text. */
export type Contents =
  | { readonly data: Readonly<Record<string, unknown>>; readonly cache: Cache }
  | { readonly text: string; readonly cache: Cache };

/** One that is there to be chosen from a list. */
export interface Listed {
  readonly uri: string;
  readonly name: string;
  readonly title: string;
  readonly size?: number;
}

/** A kind of resource: an address with places for what is asked about, and how it is read. */
export interface ResourceKind {
  /** `millrace://runs/{run_id}`: RFC 6570, simple expressions only. */
  readonly uri: string;
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly mimeType: 'application/json' | 'text/plain' | 'text/markdown';
  /** One sentence for what was too long: how to get the rest. */
  readonly rest: string;
  /** What each place of the address completes to. */
  readonly completes: Readonly<Record<string, Completes>>;
  /** Those that stand in `resources/list`, besides the address itself where it has no places. */
  list?(services: Services): Promise<readonly Listed[]>;
  /** `values` has one text for each place. Throws MillraceError. */
  read(services: Services, values: Readonly<Record<string, string>>): Promise<Contents>;
}

/** The values for the places of a kind's address; null when the URI is not of this kind. */
export function valuesIn(kind: ResourceKind, uri: string): Readonly<Record<string, string>> | null {
  const wanted = kind.uri.split('/');
  const given = uri.split('/');
  if (wanted.length !== given.length) return null;
  const values: Record<string, string> = {};
  for (const [index, part] of wanted.entries()) {
    const text = given[index] ?? '';
    const place = /^\{(\w+)\}$/.exec(part)?.[1];
    if (place === undefined) {
      if (text !== part) return null;
      continue;
    }
    const value = decoded(text);
    if (value === null || value === '') return null;
    values[place] = value;
  }
  return values;
}

/** The address with its places filled in. */
export function uriOf(kind: ResourceKind, values: Readonly<Record<string, string>>): string {
  return kind.uri.replaceAll(/\{(\w+)\}/g, (_, place: string) => encodeURIComponent(values[place] ?? ''));
}

/** True when there is nothing to fill in: one resource, not a template. */
export function isSingle(kind: ResourceKind): boolean {
  return !kind.uri.includes('{');
}

function decoded(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}
