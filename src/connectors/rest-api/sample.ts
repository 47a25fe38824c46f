import type { Stream } from '../../core/model.ts';
import type { Column, Value } from '../../core/types.ts';
import type { RestSettings } from './config.ts';
import type { HttpClient } from './http/client.ts';
import type { PaginationFound } from './pagination/signs.ts';
import type { StreamPlan } from './plan.ts';

/** What questions to an API are asked with. */
export interface RestContext {
  readonly settings: RestSettings;
  readonly client: HttpClient;
  /** All streams of the connector: one may be asked about by rows of another. */
  readonly streams: readonly Stream[];
}

/** What one look at a stream's first page found. */
export interface PageSample {
  /** The plan with what looking settled: format, records, pagination. */
  readonly plan: StreamPlan;
  readonly status: number;
  /** As the answer's header had it. */
  readonly contentType: string | null;
  /** How far the server's clock is ahead of ours; null when it does not say. */
  readonly skewMs: number | null;
  /** Bytes of the answer that were looked at, unpacked. */
  readonly bytes: number;
  /** Until the answer began. */
  readonly ms: number;
  /** Where the records were found and why, when nobody had declared it: `"data" is what lists of records are called`. */
  readonly recordsFound: string | null;
  /** How `auto` chose the pagination. Not sure: it is `none`, and a person has to say. */
  readonly paginationFound: PaginationFound | null;
  /** How many records the page has, before explode; at most what was looked at. */
  readonly records: number;
  /** Inferred from the records, flattened, exploded and with the parent's key as the plan says. */
  readonly columns: readonly Column[];
  /** The records as rows of those columns. */
  readonly rows: readonly (readonly Value[])[];
  /** Fields with values of kinds that one column keeps apart only as text or JSON. */
  readonly mixed: readonly { readonly name: string; readonly kinds: readonly string[] }[];
  /** False when only the beginning of the page was looked at. */
  readonly whole: boolean;
  /** The next request that reading would make, as a sentence may show it: `GET https://…?page=2`; null at the end. */
  readonly next: string | null;
}
