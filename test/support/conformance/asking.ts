import {
  CLIENT_CAPABILITIES_META_KEY,
  type ElicitRequestFormParams,
  type InputRequest,
  type InputRequests,
  type InputRequiredResult,
  inputRequired,
  inputResponse,
  isInputRequiredResult,
} from '@modelcontextprotocol/server';
import { abilitiesOf } from '../../../src/mcp/client-abilities.ts';
import type { Asked } from '../../../src/mcp/confirm.ts';
import { type Call, type FixtureTool, said } from './fixture.ts';

type Answers = Readonly<Record<string, unknown>>;
type Properties = ElicitRequestFormParams['requestedSchema'];
type Field = Properties['properties'][string];

export const yesOrNo: Field = { type: 'boolean' };

/** What is asked before there is an answer. The questions of a later round may build on the answers to the earlier ones. */
interface Questions {
  readonly name: string;
  readonly rounds: readonly ((call: Omit<Call, 'own'>) => InputRequests)[];
  /** Sends what was answered so far with the questions, signed by Millrace's own codec, instead of nothing. */
  readonly signed?: boolean;
}

/** The next questions; or all answers, when there are no more. */
export async function ask(
  { name, rounds, signed = false }: Questions,
  call: Omit<Call, 'own'>,
): Promise<InputRequiredResult | { readonly answers: Answers }> {
  const { mcpReq } = call.context;
  const before = signed ? mcpReq.requestState<Asked>() : undefined;
  const earlier = before === undefined ? {} : (JSON.parse(before.confirmation) as Answers);
  const answers: Record<string, unknown> = { ...earlier };
  for (const [key, response] of Object.entries(mcpReq.inputResponses ?? {}))
    if (inputResponse(mcpReq.inputResponses, key).kind !== 'missing') answers[key] = response;
  for (const round of rounds) {
    const open = Object.entries(round(call)).filter(([key]) => !(key in answers));
    if (open.length === 0) continue;
    const inputRequests = Object.fromEntries(open);
    if (!signed) return inputRequired({ inputRequests });
    const state = { tool: name, args: '{}', confirmation: JSON.stringify(answers) };
    return inputRequired({
      inputRequests,
      requestState: await call.options.confirmations.mint(state, call.context),
    });
  }
  return { answers };
}

/** A form of one field. */
export function form(message: string, field: string, of: Field = { type: 'string' }): InputRequest {
  const requestedSchema: Properties = { type: 'object', properties: { [field]: of }, required: [field] };
  return inputRequired.elicit({ message, requestedSchema });
}

function sample(text: string): InputRequest {
  return inputRequired.createMessage({
    messages: [{ role: 'user', content: { type: 'text', text } }],
    maxTokens: 100,
  });
}

/** Of every type a form can have, each with a value that it begins with (SEP-1034). */
const withDefaults: Properties = {
  type: 'object',
  properties: {
    name: { type: 'string', default: 'John Doe' },
    age: { type: 'integer', default: 30 },
    score: { type: 'number', default: 95.5 },
    status: { type: 'string', enum: ['active', 'inactive', 'pending'], default: 'active' },
    verified: { type: 'boolean', default: true },
  },
};

/** All five ways of choosing (SEP-1330). */
const choices: Properties = {
  type: 'object',
  properties: {
    untitledSingle: { type: 'string', enum: ['option1', 'option2', 'option3'] },
    titledSingle: { type: 'string', oneOf: titled('Option') },
    legacyEnum: { type: 'string', enum: ['opt1', 'opt2', 'opt3'], enumNames: ['One', 'Two', 'Three'] },
    untitledMulti: { type: 'array', items: { type: 'string', enum: ['option1', 'option2', 'option3'] } },
    titledMulti: { type: 'array', items: { anyOf: titled('Choice') } },
  },
};

function titled(what: string): { readonly const: string; readonly title: string }[] {
  return [1, 2, 3].map((n) => ({ const: `value${n}`, title: `${what} ${n}` }));
}

const questions: readonly Questions[] = [
  { name: 'test_sampling', rounds: [({ args }) => ({ sample: sample(String(args['prompt'])) })] },
  {
    name: 'test_elicitation',
    rounds: [({ args }) => ({ response: form(String(args['message']), 'response') })],
  },
  {
    name: 'test_elicitation_sep1034_defaults',
    rounds: [() => ({ it: inputRequired.elicit({ message: 'Is it so?', requestedSchema: withDefaults }) })],
  },
  {
    name: 'test_elicitation_sep1330_enums',
    rounds: [() => ({ it: inputRequired.elicit({ message: 'Which?', requestedSchema: choices }) })],
  },
  { name: 'test_missing_capability', rounds: [() => ({ sample: sample('Anything') })] },
  { name: 'test_streaming_elicitation', rounds: [() => ({ user_name: form('Who?', 'name') })] },
  { name: 'test_input_required_result_elicitation', rounds: [() => ({ user_name: form('Who?', 'name') })] },
  {
    name: 'test_input_required_result_sampling',
    rounds: [() => ({ capital_question: sample('What is the capital of France?') })],
  },
  {
    name: 'test_input_required_result_list_roots',
    rounds: [() => ({ client_roots: inputRequired.listRoots() })],
  },
  {
    name: 'test_input_required_result_request_state',
    signed: true,
    rounds: [() => ({ confirm: form('Please confirm', 'ok', yesOrNo) })],
  },
  {
    name: 'test_input_required_result_tampered_state',
    signed: true,
    rounds: [() => ({ confirm: form('Please confirm', 'ok', yesOrNo) })],
  },
  {
    name: 'test_input_required_result_multiple_inputs',
    signed: true,
    rounds: [
      () => ({
        user_name: form('Who?', 'name'),
        greeting: sample('Generate a greeting'),
        client_roots: inputRequired.listRoots(),
      }),
    ],
  },
  {
    name: 'test_input_required_result_multi_round',
    signed: true,
    rounds: [
      () => ({ step1: form('Step 1: who?', 'name') }),
      () => ({ step2: form('Step 2: which color?', 'color') }),
    ],
  },
  { name: 'test_input_required_result_capabilities', signed: true, rounds: [whatTheClientCan] },
];

/** Questions of the kinds only that the request's own client can answer. */
function whatTheClientCan({ server, context }: Omit<Call, 'own'>): InputRequests {
  const envelope: Readonly<Record<string, unknown>> = context.mcpReq.envelope ?? {};
  const declared = (envelope[CLIENT_CAPABILITIES_META_KEY] ?? {}) as Readonly<Record<string, unknown>>;
  return {
    ...(abilitiesOf(server, context).form && { elicit_input: form('A value?', 'value') }),
    ...(declared['sampling'] !== undefined && { sample_input: sample('Anything') }),
  };
}

/** Tools that ask a person, a model or the client before they answer. */
export const askingTools: readonly FixtureTool[] = questions.map((one) => ({
  name: one.name,
  async call(call) {
    const asked = await ask(one, call);
    return isInputRequiredResult(asked) ? asked : said(JSON.stringify(asked.answers));
  },
}));
