import { escaped, htmlPage } from './html.ts';
import type { OpenQuestion } from './questions.ts';
import type { Answer } from './reply.ts';

/** Longer is no credential; a vault takes no more either. */
export const secretCharsMax = 10_000;

/** Names that the form and its handler share. */
export const fieldName = (index: number): string => `secret${index}`;
export const cookieName = 'millrace_ask';

const style = `
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 30%, transparent); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 34rem; margin: 12vh auto; padding: 0 1rem; }
h1 { font-size: 1.3rem; } label { display: block; margin: 1.2rem 0 .3rem; font-weight: 600; } .muted { opacity: .7; font-size: .9rem; }
input[type=password] { font: inherit; width: 100%; box-sizing: border-box; padding: .5rem; border: 1px solid var(--line); border-radius: .4rem; }
button { font: inherit; margin-top: 1.2rem; padding: .5rem 1.2rem; border-radius: .4rem; border: 1px solid var(--line); cursor: pointer; }
[role=alert] { border-left: .3rem solid #cf222e; padding-left: .8rem; } [role=status] { border-left: .3rem solid #1a7f37; padding-left: .8rem; }
`;

/** The page of a question: the form, what came of the last answer, or that it is answered. Looking at it changes nothing. */
export function askPage(question: OpenQuestion): Answer {
  const { asked, outcome } = question;
  const title = `A secret for ${escaped(asked.connector)}`;
  if (outcome?.done === true)
    return htmlPage(200, {
      title,
      style,
      body: `<h1>Done</h1>\n<p role="status">${escaped(outcome.words)}</p>\n<p class="muted">This page can be closed.</p>`,
    });
  return htmlPage(200, {
    title,
    style,
    body: form(question),
    hasForm: true,
    headers: {
      'set-cookie': `${cookieName}=${question.cookie}; Path=${pathOf(question)}; HttpOnly; SameSite=Strict`,
    },
  });
}

/** Where a question's page is. */
export function pathOf({ nonce }: Pick<OpenQuestion, 'nonce'>): string {
  return `/ask/${nonce}`;
}

/** A page that says one thing, for a person who went wrong. */
export function sentencePage(
  status: number,
  words: string,
  headers: Readonly<Record<string, string>> = {},
): Answer {
  return htmlPage(status, {
    title: 'Millrace',
    style,
    body: `<p role="alert">${escaped(words)}</p>`,
    headers,
  });
}

function form(question: OpenQuestion): string {
  const { asked, outcome, formToken, expiresAt } = question;
  const inputs = asked.fields.map((field, index) => {
    const name = fieldName(index);
    return `<label for="${name}">${escaped(field)} of ${escaped(asked.connector)} (${escaped(asked.type)}, ${escaped(asked.host)})</label><input type="password" id="${name}" name="${name}" autocomplete="off" spellcheck="false" maxlength="${secretCharsMax}" required${index === 0 ? ' autofocus' : ''}>`;
  });
  return [
    `<h1>A secret for ${escaped(asked.connector)}</h1>`,
    outcome === undefined ? '' : `<p role="alert">${escaped(outcome.words)}</p>`,
    `<p>An assistant has asked Millrace to connect to <strong>${escaped(asked.host)}</strong>. What is typed here is sealed on this machine and sent there and nowhere else; the assistant does not get to see it.</p>`,
    `<form method="post" action="${pathOf(question)}" autocomplete="off"><input type="hidden" name="token" value="${formToken}">`,
    ...inputs,
    '<button type="submit">Keep it</button></form>',
    `<p class="muted">Open until ${new Date(expiresAt).toISOString().slice(11, 16)} UTC, for one answer. Close it if you did not expect it.</p>`,
  ].join('\n');
}
