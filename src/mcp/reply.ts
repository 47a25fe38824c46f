import type { CallToolResult } from '@modelcontextprotocol/server';
import type { MillraceError } from '../core/errors.ts';
import { clean } from './clean.ts';
import { shorten } from './shorten.ts';
import type { Output, Tool } from './tool.ts';

/** Clients cut, refuse or spill longer results to a file (Claude Code: 25,000 tokens; others by characters). */
export const replyCharsMax = 25_000;

/** Room for the note that something was cut. */
const noteChars = 1_000;
const cutsNamed = 6;

/**
 * A tool's output as the client gets it. Text and `structuredContent` are the same JSON, because some clients show
 * the model only the one and some only the other. What does not fit is cut, and `cut` says what and how to get it. Links to more come behind, for clients that know them.
 */
export function success(
  tool: Pick<Tool, 'rest' | 'whenCut' | 'links'>,
  output: Output,
  { links = false }: { readonly links?: boolean } = {},
): CallToolResult {
  const { value, left } = shorten(clean(output) as Output, replyCharsMax - noteChars);
  const structuredContent =
    left.length === 0
      ? value
      : { ...(tool.whenCut?.(value) ?? value), cut: cutNote(left, { max: replyCharsMax, rest: tool.rest }) };
  const more = links ? (tool.links?.(output) ?? []) : [];
  return {
    content: [{ type: 'text', text: JSON.stringify(structuredContent) }, ...more],
    structuredContent,
  };
}

/**
 * A failure in the form of contract §4: the text begins with the code, the structure has every field. `offered` leaves out
 * calls that this server does not serve.
 */
export function failure(
  error: MillraceError,
  offered: (output: Output) => Output = (output) => output,
): CallToolResult {
  const shown = shorten(clean(offered({ error: error.toView() })) as Output, replyCharsMax / 2);
  const view = shown.value['error'] as ReturnType<MillraceError['toView']>;
  const facts = [
    `${view.code}: ${view.message}`,
    `Hint: ${view.hint}`,
    `Retryable: ${view.retryable ? 'yes' : 'no'}. Who has to act: ${view.who}.`,
    ...(view.next_actions ?? []).map(
      (action) => `Next: ${action.tool} ${JSON.stringify(action.arguments)} (${action.why})`,
    ),
  ];
  return {
    isError: true,
    content: [{ type: 'text', text: facts.join('\n') }],
    structuredContent: { error: view },
  };
}

/** What had to be left out to stay under `max` characters, and how to get the rest. */
export function cutNote(
  left: readonly string[],
  { max, rest }: { readonly max: number; readonly rest: string },
): string {
  const named = left.slice(0, cutsNamed).join('; ');
  const more = left.length > cutsNamed ? `; and ${left.length - cutsNamed} more` : '';
  return `Left out to stay under ${max} characters: ${named}${more}. ${rest}`.slice(0, noteChars - 50);
}
