import { randomBytes } from 'node:crypto';
import {
  acceptedContent,
  createRequestStateCodec,
  type InputRequiredResult,
  inputRequired,
  type RequestStateCodec,
  type ServerContext,
} from '@modelcontextprotocol/server';
import { z } from 'zod';
import { MillraceError } from '../core/errors.ts';
import type { Services } from '../services/services.ts';
import { cleanText } from './clean.ts';
import type { CallContext, Output, Tool } from './tool.ts';

/** What comes back from the client with a person's answer: signed, so that it is what we said. */
export interface Asked {
  readonly tool: string;
  /** The arguments as JSON: an answer to one question is none to another. */
  readonly args: string;
  readonly confirmation: string;
}

export type Confirmations = RequestStateCodec<Asked>;

/** As long as a plan is valid. */
const ttlSeconds = 600;

/** One a process: an answer may come to another connection than the question left by. */
export function createConfirmations(): Confirmations {
  return createRequestStateCodec<Asked>({
    key: randomBytes(32),
    ttlSeconds,
    bind: (context) => `${context.mcpReq.method}\0${context.http?.authInfo?.clientId ?? ''}`,
  });
}

const form: Parameters<typeof inputRequired.elicit>[0]['requestedSchema'] = {
  type: 'object',
  properties: { confirm: { type: 'boolean', title: 'Yes, do it', default: false } },
  required: ['confirm'],
};
const answer = z.object({ confirm: z.boolean() });

interface Call {
  readonly tool: Tool;
  readonly args: unknown;
  readonly services: Services;
  readonly context: CallContext;
}

/**
 * Asks a person, by a form of the client, before a tool acts that wants a confirmation. The plan's token goes out and
 * comes back without ever being shown to the model. Null where the tool asks nothing, or was called with a token.
 */
export async function askFirst(
  call: Call,
  confirmations: Confirmations,
  request: ServerContext,
): Promise<Output | InputRequiredResult | null> {
  const { tool, services, context } = call;
  if (tool.question === undefined) return null;
  const asked = request.mcpReq.requestState<Asked>();
  if (asked !== undefined) return await answered(call, asked, request);
  const args = (call.args ?? {}) as Output;
  if (args['confirmation'] !== undefined) return null;
  const plan = await tool.call(services, args, context);
  const confirmation = plan['confirmation'];
  if (typeof confirmation !== 'string') return plan;
  const state = { tool: tool.name, args: JSON.stringify(args), confirmation };
  return inputRequired({
    inputRequests: {
      confirm: inputRequired.elicit({ message: cleanText(tool.question(plan)), requestedSchema: form }),
    },
    requestState: await confirmations.mint(state, request),
  });
}

async function answered(
  { tool, args, services, context }: Call,
  asked: Asked,
  request: ServerContext,
): Promise<Output> {
  const same = asked.tool === tool.name && asked.args === JSON.stringify(args ?? {});
  if (!same)
    throw new MillraceError('confirmation_invalid', 'The answer belongs to another question.', {
      hint: `Call ${tool.name} again with the arguments you mean; the person is asked again.`,
    });
  const given = (args ?? {}) as Output;
  const accepted = acceptedContent(request.mcpReq.inputResponses, 'confirm', answer);
  if (accepted?.confirm === true)
    return await tool.call(services, { ...given, confirmation: asked.confirmation }, context);
  const { confirmation: _unused, ...plan } = await tool.call(services, given, context);
  return { ...plan, declined: true };
}
