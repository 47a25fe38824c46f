import type { Completes } from '../candidates.ts';

export interface Argument {
  readonly name: string;
  readonly description: string;
  readonly required: boolean;
  readonly completes?: Completes;
}

/** One step: the tool, an example of its arguments (places in `<>` are for the model), and what for. */
export interface Step {
  readonly tool: string;
  readonly arguments?: Readonly<Record<string, unknown>>;
  readonly say: string;
}

export type Given = Readonly<Record<string, string>>;

/** A prompt as data: what it is for, and the tools in their order. */
export interface Prompt {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly arguments: readonly Argument[];
  /** The tool without which it is pointless: where that is not served, the prompt is not offered. */
  readonly needs: string;
  /** The task in a sentence or two. */
  task(given: Given): string;
  steps(given: Given): readonly Step[];
  /** What the answer has to say. */
  readonly answer: string;
}

/** The prompt's text; steps whose tool this server does not serve are left out. */
export function promptText(prompt: Prompt, given: Given, served: ReadonlySet<string>): string {
  const steps = prompt.steps(given).filter(({ tool }) => served.has(tool));
  return [prompt.task(given), '', ...steps.map(lineOf), '', prompt.answer].join('\n');
}

function lineOf(step: Step, index: number): string {
  const call = step.arguments === undefined ? '' : ` ${JSON.stringify(step.arguments)}`;
  return `${index + 1}. ${step.tool}${call}: ${step.say}`;
}
