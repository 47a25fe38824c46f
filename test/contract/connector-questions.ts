import type { Source } from '../../src/connectors/connector.ts';
import type { Subject, SubjectKind } from './connector-subject.ts';

/** What a question is put to: made before the first one, shared by all, each with tables of its own. */
export interface Asked {
  readonly kind: SubjectKind;
  subject(): Subject;
  /** Another one, for a question that looks at everything there is. */
  fresh(): Promise<Subject>;
  /** The subject's connector, opened once. */
  source(): Source;
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
