import {
  type Prompt as ListedPrompt,
  type McpServer,
  ProtocolError,
  ProtocolErrorCode,
} from '@modelcontextprotocol/server';
import { suggestion } from '../../core/nearest.ts';
import { cleanText } from '../clean.ts';
import { fixed } from '../resources/resource.ts';
import { prompts } from './index.ts';
import { type Given, type Prompt, promptText } from './prompt.ts';

/** Longer arguments are no names and no questions. */
const argumentChars = 2_000;

/** Serves the prompts: ways of working that a person picks from a menu, as far as the tools that are `served` go. */
export function servePrompts(server: McpServer, served: ReadonlySet<string>): void {
  const offered = prompts.filter(({ needs }) => served.has(needs));
  server.server.registerCapabilities({ prompts: {} });
  server.server.setRequestHandler('prompts/list', () => ({ prompts: offered.map(listedOf), ...fixed }));
  server.server.setRequestHandler('prompts/get', ({ params }) => {
    const prompt = offered.find(({ name }) => name === params.name);
    if (prompt === undefined) {
      const known = offered.map(({ name }) => name);
      throw refused(`There is no prompt "${params.name.slice(0, 100)}". ${suggestion(params.name, known)}`);
    }
    const text = promptText(prompt, checked(prompt, params.arguments ?? {}), served);
    return {
      description: prompt.description,
      messages: [{ role: 'user', content: { type: 'text', text: cleanText(text) } }],
    };
  });
}

function listedOf({ name, title, description, arguments: args }: Prompt): ListedPrompt {
  return {
    name,
    title,
    description,
    arguments: args.map(({ completes: _completes, ...argument }) => argument),
  };
}

/** Empty ones count as not given: clients send the fields of their form as they stand. */
function checked(prompt: Prompt, args: Readonly<Record<string, string>>): Given {
  const known = prompt.arguments.map(({ name }) => name);
  const given = Object.entries(args).filter(([, value]) => value.trim() !== '');
  for (const [name, value] of given) {
    if (!known.includes(name))
      throw refused(`${prompt.name} takes no argument "${name.slice(0, 100)}". ${suggestion(name, known)}`);
    if (value.length > argumentChars)
      throw refused(`${prompt.name}: "${name}" is longer than ${argumentChars} characters.`);
  }
  for (const { name, required, description } of prompt.arguments)
    if (required && !given.some(([known]) => known === name))
      throw refused(`${prompt.name} needs "${name}": ${description}.`);
  return Object.fromEntries(given);
}

function refused(message: string): ProtocolError {
  return new ProtocolError(ProtocolErrorCode.InvalidParams, cleanText(message));
}
