import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Source } from '../../src/connectors/connector.ts';
import { type Asked, createAsk, stamp } from './connector-questions.ts';
import type { Subject, SubjectKind, SubjectPlace } from './connector-subject.ts';
import { askingQuestions } from './connector-suite-asking.ts';
import { changeQuestions } from './connector-suite-change.ts';
import { endingQuestions } from './connector-suite-ending.ts';
import { readingQuestions } from './connector-suite-reading.ts';
import { resumeQuestions } from './connector-suite-resume.ts';

/**
 * One battery of questions about `src/connectors/connector.ts` that every connector type must answer the same way.
 * A new type runs it by describing itself as a `SubjectKind`; the questions know none of them.
 */
export function connectorSuite({ title, expects, place }: SubjectKind): void {
  describe(title, () => {
    const made: { place?: SubjectPlace; subject?: Subject; source?: Source } = {};
    beforeAll(async () => {
      made.place = await place();
      made.subject = await made.place.fresh();
      made.source = await made.subject.open();
    });
    afterAll(async () => {
      await made.source?.[Symbol.asyncDispose]();
      await made.subject?.[Symbol.asyncDispose]();
      await made.place?.[Symbol.asyncDispose]();
    });
    const there = <T>(thing: T | undefined): T => {
      if (thing === undefined) throw new Error(`${title} did not come up, or has no such thing`);
      return thing;
    };
    const { ask, count } = createAsk(expects);
    const asked: Asked = {
      expects,
      ask,
      subject: () => there(made.subject),
      fresh: () => there(made.place).fresh(),
      source: () => there(made.source),
      sql: () => there(made.subject?.sql),
      at: (n) => stamp(n * Math.max(1, 2 * expects.behindMicros)),
    };
    describe('is asked', () => askingQuestions(asked));
    describe('is read', () => readingQuestions(asked));
    describe('is resumed', () => resumeQuestions(asked));
    describe('changes its shape', () => changeQuestions(asked));
    describe('ends', () => endingQuestions(asked));

    test(`was asked all ${expects.questions} questions that it can be asked`, () => {
      expect(count()).toBe(expects.questions);
    });
  });
}
