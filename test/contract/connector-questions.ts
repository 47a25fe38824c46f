import { test } from 'vitest';
import type { Source } from '../../src/connectors/connector.ts';
import type { ColumnKind } from '../support/dialects.ts';
import type { Expectations, Need } from './connector-expecting.ts';
import type { Row, SqlPowers, Subject } from './connector-subject.ts';

/** What a question is put to: made before the first one, shared by all, each with tables of its own. */
export interface Asked {
  readonly expects: Expectations;
  /** Registers a question. */
  readonly ask: Ask;
  subject(): Subject;
  /** Another one, for a question that looks at everything there is. */
  fresh(): Promise<Subject>;
  /** The subject's connector, opened once. */
  source(): Source;
  /** For questions that need it. */
  sql(): SqlPowers;
  /** The `n`-th of moments that lie so far apart that no run begins at one before its mark; as a `stamp` lands. */
  at(n: number): string;
}

export interface Ask {
  (question: string, put: () => Promise<void>, more?: AskOptions): void;
  /** The same, of those who have all of this. */
  needing(...needs: readonly Need[]): Ask;
}

export interface AskOptions {
  readonly timeout?: number;
  /** Put together with its neighbours: it waits most of the time, and makes no table. */
  readonly together?: boolean;
}

/** How questions are registered for one subject, and how many have been. A question whose needs are not met is not. */
export function createAsk({ has }: Expectations): { readonly ask: Ask; count(): number } {
  let count = 0;
  const needing = (...needs: readonly Need[]): Ask => {
    const isMet = needs.every((need) => has[need] === true);
    const ask = (
      question: string,
      put: () => Promise<void>,
      { timeout, together }: AskOptions = {},
    ): void => {
      if (!isMet) return;
      count += 1;
      const options = timeout === undefined ? {} : { timeout };
      if (together === true) test.concurrent(question, options, put);
      else test(question, options, put);
    };
    return Object.assign(ask, { needing: (...more: readonly Need[]) => needing(...needs, ...more) });
  };
  return { ask: needing(), count: () => count };
}

/** A moment that many microseconds after the beginning of 2024, as a `stamp` lands. */
export function stamp(micros: number): string {
  const seconds = new Date(Date.UTC(2024, 0, 1) + Math.floor(micros / 1e6) * 1e3).toISOString().slice(0, 19);
  return `${seconds}.${String(micros % 1e6).padStart(6, '0')}Z`;
}

/** 1 to `count`, through a function. */
export function numbered<T>(count: number, make: (n: number) => T): readonly T[] {
  return Array.from({ length: count }, (_, i) => make(i + 1));
}

/** A table's columns and rows without what the subject has no type for. */
export function held<Columns extends Readonly<Record<string, ColumnKind>>>(
  { types }: Expectations,
  columns: Columns,
  rows: readonly Row[],
): { readonly columns: Readonly<Record<string, ColumnKind>>; readonly rows: readonly Row[] } {
  const keeps = Object.values(columns).map((kind) => types[kind] !== null);
  return {
    columns: Object.fromEntries(Object.entries(columns).filter((_, at) => keeps[at])),
    rows: rows.map((row) => row.filter((_, at) => keeps[at])),
  };
}
