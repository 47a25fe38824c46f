import type { ErrorCode } from '../../src/core/errors.ts';
import type { Stream } from '../../src/core/model.ts';
import type { LogicalType } from '../../src/core/types.ts';
import type { ColumnKind } from '../support/dialects.ts';

/** What a question may need of a subject: one that cannot have it says why, and is not asked. */
export type Need =
  | 'sql' // takes queries and conditions of its user
  | 'grants' // rights are given table by table, and its hints say how
  | 'transactions' // somebody can have changes under way that nobody sees yet
  | 'catalogue' // knows its columns, its keys and all its rows without a look at some of them
  | 'counts' // can count a stream, and list its keys, in the snapshot of a reading
  | 'null cursors' // shows rows without a cursor value to whoever asks for newer ones
  | 'decimals'; // has a type for them

/** Everything in which subjects may differ. A subject that leaves one out is a type error. */
export interface Expectations {
  /** True, or why not. */
  readonly has: Readonly<Record<Need, true | string>>;
  /** How many questions it is asked: one that is lost silently is missed here. */
  readonly questions: number;
  /** The guard of a reading while nobody writes. */
  readonly guard: string;
  readonly check: {
    readonly version: RegExp | null;
    /** What is looked at before the first stream. */
    readonly stages: readonly string[];
    /** What is seen where the first of two streams, `gone` and `people`, is not there. */
    readonly missing: readonly (readonly [name: string, ok: boolean])[];
    /** What it warns of although all is as it should be: a sentence each. */
    readonly warned: readonly RegExp[];
  };
  /** Whether a merge looks for deleted rows when nobody said anything. */
  readonly detectsDeletes: boolean;
  /** Characters that this kind allows in a name and that are likely to be mangled. */
  readonly oddName: string;
  /** What a column of each kind lands as; null: there is no such thing here. */
  readonly types: Readonly<Record<ColumnKind, LogicalType | null>>;
  /** Columns are told by a catalogue, or learnt from the rows, and then a change of shape breaks no reading. */
  readonly columns: 'told' | 'learnt';
  /** How far behind its mark a run begins, in microseconds. */
  readonly behindMicros: number;
  /** Rows at most that come again when a reading is resumed. */
  readonly again: number;
  /** Rows at most, of 4,000 that are tied by seven, which an appending destination has to remember. */
  readonly remembered: number;
  /** Configs that cannot work, and what each is. */
  readonly wrong: readonly WrongConfig[];
  /** With an address that takes connections and says nothing. */
  readonly deaf: {
    readonly config: Readonly<Record<string, unknown>>;
    readonly code: ErrorCode;
    /** The setting that its hint names. */
    readonly setting: string;
    readonly withinMs: number;
  };
  /** With an address where another kind of server says something. */
  readonly strangers: readonly {
    readonly what: string;
    readonly says: string;
    readonly config: Readonly<Record<string, unknown>>;
  }[];
  /** A config that waits 300 ms for a server to say something; after so long it has given up for good. */
  readonly impatient: { readonly config: Readonly<Record<string, unknown>>; readonly withinMs: number };
  /** A config that lets four readings work at one time. */
  readonly crowd: Readonly<Record<string, unknown>>;
  /** What is refused besides what everybody refuses, over tables `people` (with a key) and `holes` (a NULL in `k`). */
  readonly refused: readonly RefusedStream[];
  /** What is said of a key that rows share: `k` of 1, 1, 2, 2, 3. */
  readonly shared: RegExp;
  /** Keys whose text, order or literal is awkward: a type, and what makes the `n`-th value of it. */
  readonly keys: readonly (readonly [type: string, value: string])[];
  /** SQL of a user that would change something if it were let; `victim` is a table with an `id`. */
  readonly hostile: readonly HostileSql[];
  /** What rows are that cannot be read. */
  readonly failing: ErrorCode;
  /** What a reading ends with whose session is ended in the middle; null: it asks again, and goes on. */
  readonly cut: ErrorCode | null;
  /** What a reading ends with whose source is closed in the middle. */
  readonly closed: ErrorCode;
}

export interface WrongConfig {
  readonly what: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly code: ErrorCode;
  /** What `check` got to, the last of it failed. */
  readonly stages: readonly string[];
}

export interface RefusedStream {
  readonly stream: Omit<Stream, 'name'>;
  readonly code: ErrorCode;
  readonly hint: RegExp;
}

export interface HostileSql {
  readonly stream: Pick<Stream, 'query' | 'where'>;
  /** It is one SELECT that changes nothing, whatever it tries: read like any other. */
  readonly harmless?: boolean;
}
