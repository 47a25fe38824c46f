import type { z } from 'zod';
import { asMillraceError, MillraceError } from '../core/errors.ts';
import { validate } from '../core/validate.ts';

interface Wanted<In extends z.ZodType> {
  readonly tool: string;
  readonly schema: In;
  readonly listed: z.ZodObject;
}

/**
 * A call's arguments as the tool wants them. The server checks them itself, so that a mistake comes back in the
 * form of every other error, with the nearest name and the arguments there are, where the SDK would answer with
 * the schema library's own text. Throws `invalid_config`.
 */
export function checkArguments<In extends z.ZodType>(wanted: Wanted<In>, args: unknown): z.output<In> {
  try {
    return validate(wanted.schema as z.ZodType<z.output<In>>, args ?? {}, `The call of ${wanted.tool}`);
  } catch (error) {
    const { code, message } = asMillraceError(error);
    throw new MillraceError(code, message, { hint: `${takes(wanted)} Nothing was done.` });
  }
}

function takes({ tool, listed }: Wanted<z.ZodType>): string {
  const names = Object.entries(listed.shape).map(([name, field]) =>
    field.safeParse(undefined).success ? name : `${name} (required)`,
  );
  return names.length === 0
    ? `Call ${tool} again without arguments.`
    : `Call ${tool} again; it takes: ${names.join(', ')}.`;
}
