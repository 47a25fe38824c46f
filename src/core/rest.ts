/** What a stream of a REST API is declared with (contract §3). Plain data, as a person or an assistant writes it. */

/** Where the position goes that asks for the next page: into the query string, or into the JSON body of a search by POST. */
export type PositionPlace = 'query' | 'body';

interface Positioned {
  /** The query string when absent. */
  readonly in?: PositionPlace;
  /** JMESPath on the page: what is false, null or absent ends the reading. For APIs that say so themselves. */
  readonly has_more?: string;
}

/** How the next page is asked for. */
export type PaginationConfig =
  | { readonly type: 'none' }
  /** Looks at a sample page, says what it found and why, and stops where it is unsure. */
  | { readonly type: 'auto' }
  | ({
      readonly type: 'offset';
      readonly limit_param: string;
      readonly offset_param: string;
      readonly limit: number;
    } & Positioned)
  | ({
      readonly type: 'page';
      readonly page_param: string;
      readonly size_param?: string;
      readonly size?: number;
      /** The first page's number; 1 when absent. */
      readonly start?: number;
    } & Positioned)
  | ({
      readonly type: 'cursor';
      readonly cursor_param: string;
      /** JMESPath to the next cursor; this or `next_header`. */
      readonly next?: string;
      /** The header of the answer that carries the next cursor. */
      readonly next_header?: string;
    } & Positioned)
  | { readonly type: 'link_header' }
  | { readonly type: 'next_url'; readonly next: string }
  /** The last record's `field` is sent as `param`: `starting_after`, `since_id`, `id_gt`. */
  | ({ readonly type: 'keyset'; readonly param: string; readonly field: string } & Positioned);

export type ResponseFormat = 'json' | 'ndjson' | 'csv' | 'xml' | 'auto';

/** What an answer means that the API's own way of speaking makes ambiguous. The first rule that fits decides. */
export interface ResponseRule {
  /** Statuses it is about; all when absent. */
  readonly status?: number | readonly number[];
  /** JMESPath on the body; fits when it is neither false, null, empty nor absent. */
  readonly when?: string;
  /** `skip`: this page (or this parent) has no rows. `stop`: nor has any after it. */
  readonly do: 'retry' | 'skip' | 'stop' | 'fail';
  /** JMESPath to the API's own words, for the error. */
  readonly message?: string;
}

/** One request a row of another stream of the same connector. */
export interface ParentConfig {
  /** A stream of the same connector. */
  readonly stream: string;
  /** Its field that is sent. */
  readonly field: string;
  /** `{param}` in the path, or a parameter of that name. */
  readonly param: string;
  /** Where it goes; `path` when the path has `{param}`, else `query`. */
  readonly in?: 'path' | 'query' | 'body';
  /** The column that keeps it in each row; `<parent stream>_<field>` when absent. */
  readonly column?: string;
  /** Parents asked about at one time; 2 when absent, and never more than the connector's `rate_limit.concurrency`. */
  readonly concurrency?: number;
}

/** An array in each record becomes the rows: one row an element. */
export interface ExplodeConfig {
  /** The record's field that holds the array. */
  readonly field: string;
  /** Columns taken from the record itself, by the field they come from: `{"order_id": "id"}`. */
  readonly keep: Readonly<Record<string, string>>;
}

export interface CsvConfig {
  /** Found among `,` `;` tab and `|` when absent. */
  readonly delimiter?: string;
  readonly quote?: string;
  /** False: the columns are named `column_1`, `column_2`, … */
  readonly header?: boolean;
}

/** A parameter of the query string; a list repeats it. */
export type ParamValue = string | number | boolean | readonly (string | number)[];

/** `Stream.rest`. */
export interface RestStream {
  readonly method?: 'GET' | 'POST';
  readonly params?: Readonly<Record<string, ParamValue>>;
  readonly headers?: Readonly<Record<string, string>>;
  /** A JSON object, or a text sent as it is. */
  readonly body?: string | Readonly<Record<string, unknown>>;
  /** JMESPath to the records in a page; found by looking when absent. */
  readonly records?: string;
  readonly pagination?: PaginationConfig;
  readonly format?: ResponseFormat;
  /** The answer's charset where its headers name none or a wrong one. */
  readonly charset?: string;
  readonly csv?: CsvConfig;
  /** The parameter that the last cursor value is sent in: only what changed since is read. */
  readonly cursor_param?: string;
  /** How the value is written: `value` as it came, `iso`, `date`, `epoch_s`, `epoch_ms`, or a text with such names in braces. */
  readonly cursor_format?: string;
  /** The parameter for the end of what is asked for; sent so that a run has a bound of its own. */
  readonly cursor_end_param?: string;
  /** Where the first reading begins, for APIs that want a beginning, and for windows: `"2020-01-01"`. */
  readonly cursor_start?: string | number;
  /** Slices of time asked for one after the other, for APIs that cap results: `"7d"`. */
  readonly window?: string;
  /** The order in which the API answers by the cursor: with `asc` the position moves with every page. */
  readonly order?: 'asc' | 'desc' | 'none';
  readonly parent?: ParentConfig;
  readonly explode?: ExplodeConfig;
  /** Levels of nested objects that become columns `a_b`; 0 when absent: objects stay JSON. */
  readonly flatten?: number;
  readonly responses?: readonly ResponseRule[];
  /** Pages at most, as a brake; 1,000,000 when absent. */
  readonly max_pages?: number;
  /** A POST that only searches may be sent again after a failure. */
  readonly repeatable?: boolean;
}
