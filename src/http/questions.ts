import { randomBytes, timingSafeEqual } from 'node:crypto';
import type { SecretQuestion, Typing } from '../services/context.ts';
import { hashOf } from './principals.ts';

/** A question that is open, and what its page needs. All of it lives in this process's memory alone. */
export interface OpenQuestion {
  readonly asked: SecretQuestion;
  /** In the page's address: whoever has it sees the page. */
  readonly nonce: string;
  /** In the form, and in a cookie: another site's form has neither. */
  readonly formToken: string;
  readonly cookie: string;
  /** Milliseconds of the clock. */
  expiresAt: number;
  /** How the last answer went, for the page. */
  outcome?: Typing;
  /** The answer that is being looked at: one sent twice is the same. */
  work?: Promise<void>;
}

export interface Questions {
  add(asked: SecretQuestion): OpenQuestion;
  /** The one with that nonce, unless it has expired. How long that takes says nothing about the others. */
  find(nonce: string): OpenQuestion | undefined;
  /** Forgets those that have expired; how many are left. */
  sweep(): number;
}

/** A person types within minutes; a link that lies about for longer is of use to others only. */
const openMs = 10 * 60_000;
/** More than a person has in mind; the oldest gives way. */
const openMax = 20;

/** The questions that are open, by a clock. */
export function createQuestions(now: () => Date): Questions {
  const open = new Set<OpenQuestion>();
  const sweep = (): number => {
    for (const question of open) if (question.expiresAt <= now().getTime()) open.delete(question);
    return open.size;
  };
  return {
    sweep,
    add(asked) {
      const question: OpenQuestion = {
        asked,
        nonce: random(),
        formToken: random(),
        cookie: random(),
        expiresAt: now().getTime() + openMs,
      };
      open.add(question);
      const [oldest] = open;
      if (oldest !== undefined && open.size > openMax) open.delete(oldest);
      return question;
    },
    find(nonce) {
      sweep();
      let found: OpenQuestion | undefined;
      for (const question of open) if (isSame(question.nonce, nonce)) found = question;
      return found;
    },
  };
}

/** Compared by their hashes, in constant time. */
export function isSame(expected: string, given: string): boolean {
  return timingSafeEqual(hashOf(expected), hashOf(given));
}

function random(): string {
  return randomBytes(32).toString('base64url');
}
