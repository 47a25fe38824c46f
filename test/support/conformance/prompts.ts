import {
  type GetPromptResult,
  type InputRequiredResult,
  isInputRequiredResult,
  type Prompt,
  type PromptMessage,
} from '@modelcontextprotocol/server';
import { ask, form } from './asking.ts';
import { png } from './content.ts';
import type { Call } from './fixture.ts';

/** A prompt that the suite asks for by name. */
interface FixturePrompt {
  readonly listed: Prompt;
  get(call: Omit<Call, 'own'>): Promise<GetPromptResult | InputRequiredResult>;
}

/** What the suite gets as prompts. */
export const prompts: readonly FixturePrompt[] = [
  prompt('test_simple_prompt', [], () => [user({ type: 'text', text: 'A prompt.' })]),
  prompt('test_prompt_with_arguments', ['arg1', 'arg2'], (args) => [
    user({ type: 'text', text: `arg1='${args['arg1']}', arg2='${args['arg2']}'` }),
  ]),
  prompt('test_prompt_with_embedded_resource', ['resourceUri'], (args) => [
    user({
      type: 'resource',
      resource: { uri: String(args['resourceUri']), mimeType: 'text/plain', text: 'Embedded.' },
    }),
  ]),
  prompt('test_prompt_with_image', [], () => [user({ type: 'image', ...png })]),
  {
    listed: listed('test_input_required_result_prompt', []),
    async get(call) {
      const rounds = [() => ({ user_context: form('Which context?', 'context') })];
      const asked = await ask({ name: 'test_input_required_result_prompt', rounds }, call);
      if (isInputRequiredResult(asked)) return asked;
      return { messages: [user({ type: 'text', text: JSON.stringify(asked.answers) })] };
    },
  },
];

function prompt(
  name: string,
  args: readonly string[],
  messages: (args: Readonly<Record<string, unknown>>) => PromptMessage[],
): FixturePrompt {
  return { listed: listed(name, args), get: async (call) => ({ messages: messages(call.args) }) };
}

function listed(name: string, args: readonly string[]): Prompt {
  const description = `A fixture of the conformance suite: ${name}.`;
  return { name, description, arguments: args.map((arg) => ({ name: arg, required: true })) };
}

function user(content: PromptMessage['content']): PromptMessage {
  return { role: 'user', content };
}
