import { takeCoverage } from 'node:v8';
import { afterAll } from 'vitest';

/** vitest stops its workers by signal, which V8's coverage does not survive: written down after each file. */
afterAll(() => takeCoverage());
