import type { ResourceLink } from '@modelcontextprotocol/server';
import { z } from 'zod';
import type { Run } from '../core/model.ts';
import type { Caller, Services } from '../services/services.ts';
import { checkArguments } from './arguments.ts';

/** What a call brings besides its arguments. */
export interface CallContext {
  readonly caller: Caller;
  /** Aborted when the client cancels the request or goes away. Stops the waiting, never a run. */
  readonly signal: AbortSignal;
  /** Present when the client asked for progress. */
  readonly onRun?: (run: Run) => void;
}

/** What a tool answers: a JSON object. */
export type Output = Readonly<Record<string, unknown>>;

/** What the tool may do, for clients that ask a person first. All four of the protocol's hints follow from it. */
export interface Effects {
  /** False: changes nothing here or at a source, and is served by `--read-only`. */
  readonly mutates: boolean;
  /** May overwrite or remove what was there and cannot be had back. */
  readonly destructive?: boolean;
  /** Calling again with the same arguments changes nothing more. */
  readonly idempotent?: boolean;
  /** Talks to a system outside this machine's data folder. */
  readonly openWorld?: boolean;
}

/** A tool as the server works with it: words for the model, schemas for the list, one call. */
export interface Tool {
  readonly name: string;
  readonly title: string;
  /** What it does, when to use it and when not, what comes back. */
  readonly description: string;
  /** The arguments as `tools/list` shows them. */
  readonly listed: z.ZodObject;
  readonly output: z.ZodObject;
  readonly effects: Effects;
  /** One sentence: how to get what a reply had to leave out. */
  readonly rest: string;
  /** Sets right what an answer says about itself (counts) after its lists were cut. */
  readonly whenCut?: (shown: Output) => Output;
  /** Where more of what an answer is about can be read. */
  readonly links?: (output: Output) => readonly ResourceLink[];
  /** What a person is asked before the plan is carried out that a call without a confirmation answers. */
  readonly question?: (plan: Output) => string;
  /** Begins what takes long and does not wait for it: for clients that follow tasks. */
  readonly start?: (services: Services, args: unknown, context: CallContext) => Promise<Run>;
  /** Checks the arguments and runs. Throws MillraceError. */
  call(services: Services, args: unknown, context: CallContext): Promise<Output>;
}

/** T and everything in it, readonly: what the services return fits schemas without a copy. */
export type Frozen<T> = T extends readonly (infer U)[]
  ? readonly Frozen<U>[]
  : T extends object
    ? { readonly [K in keyof T]: Frozen<T[K]> }
    : T;

interface Definition<In extends z.ZodType, Out extends z.ZodObject> {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly input: In;
  /** For tools whose service checks the arguments itself: what to list, `input` then only being a record. */
  readonly listed?: z.ZodObject;
  readonly output: Out;
  readonly effects: Effects;
  readonly rest?: string;
  readonly whenCut?: (shown: Output) => Output;
  readonly links?: (output: Frozen<z.output<Out>>) => readonly ResourceLink[];
  readonly question?: (plan: Frozen<z.output<Out>>) => string;
  start?(services: Services, input: z.output<In>, context: CallContext): Promise<Run>;
  run(services: Services, input: z.output<In>, context: CallContext): Promise<Frozen<z.output<Out>>>;
}

/** Its optional fields absent or there, never `undefined`: what the services' requests mean by `?`. */
export type Given<T> = { readonly [K in keyof T]: Exclude<T[K], undefined> };

/** The fields that were given. */
export function given<T extends object>(input: T): Given<T> {
  return Object.fromEntries(Object.entries(input).filter(([, value]) => value !== undefined)) as Given<T>;
}

/** Arguments that a service checks. */
export const uncheckedArguments = z.record(z.string(), z.unknown());

/** A tool from its data and a handler whose types follow from the schemas. */
export function defineTool<In extends z.ZodType, Out extends z.ZodObject>(
  definition: Definition<In, Out>,
): Tool {
  const { name, title, description, input, output, effects } = definition;
  const listed = definition.listed ?? input;
  if (!(listed instanceof z.ZodObject)) throw new TypeError(`${name} lists no object of arguments`);
  const check = (args: unknown): z.output<In> => checkArguments({ tool: name, schema: input, listed }, args);
  const { links, question, start } = definition;
  return {
    name,
    title,
    description,
    listed,
    output,
    effects,
    rest: definition.rest ?? 'Ask for less with the arguments of the tool.',
    ...(definition.whenCut === undefined ? {} : { whenCut: definition.whenCut }),
    // What it gets is what its own run answered.
    ...(links === undefined ? {} : { links: (output) => links(output as Frozen<z.output<Out>>) }),
    ...(question === undefined ? {} : { question: (plan) => question(plan as Frozen<z.output<Out>>) }),
    ...(start === undefined
      ? {}
      : { start: async (services, args, context) => await start(services, check(args), context) }),
    async call(services, args, context) {
      return (await definition.run(services, check(args), context)) as Output;
    },
  };
}
