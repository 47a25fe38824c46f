import { diagnoseRun } from './diagnose-run.ts';
import { exploreData } from './explore-data.ts';
import type { Prompt } from './prompt.ts';
import { reviewSchemaChanges } from './review-schema-changes.ts';
import { setUpConnector } from './set-up-connector.ts';

/** Every prompt (contract §5). */
export const prompts: readonly Prompt[] = [setUpConnector, diagnoseRun, reviewSchemaChanges, exploreData];
