import {
  type CallToolResult,
  type InputRequiredResult,
  type McpServer,
  MissingRequiredClientCapabilityError,
  type ServerContext,
} from '@modelcontextprotocol/server';
import { z } from 'zod';
import type { Caller } from '../services/services.ts';
import { abilitiesOf, TASKS } from './client-abilities.ts';

/** What takes long and is followed by asking, as the extension io.modelcontextprotocol/tasks has it (SEP-2663). */
export interface Task<Status extends string = string> {
  readonly taskId: string;
  readonly status: Status;
  readonly statusMessage: string;
  readonly createdAt: string;
  readonly lastUpdatedAt: string;
  readonly ttlMs: number;
  readonly pollIntervalMs: number;
}

/** A task with what belongs to how it stands. `failed` is for mistakes in the protocol: a tool that fails is `completed`. */
export type DetailedTask =
  | Task<'working' | 'completed' | 'cancelled'>
  | (Task<'completed'> & { readonly result: CallToolResult })
  | (Task<'failed'> & { readonly error: { readonly code: number; readonly message: string } })
  | (Task<'input_required'> & Required<Pick<InputRequiredResult, 'inputRequests'>>);

/** Whatever is followed as tasks. Each throws a ProtocolError where there is no such task. */
export interface Tasks {
  get(taskId: string): Promise<DetailedTask>;
  /** Answers to what the task asked, by the keys of its questions. */
  update(taskId: string, answers: Readonly<Record<string, unknown>>, caller: Caller): Promise<void>;
  /** Asked again, or after its end, it changes nothing. */
  cancel(taskId: string, caller: Caller): Promise<void>;
}

/** Answered in place of a tool's result, to a client that follows tasks: what belongs to how it stands, `tasks/get` says. */
export function taskResult(task: Task): CallToolResult {
  const { taskId, status, statusMessage, createdAt, lastUpdatedAt, ttlMs, pollIntervalMs } = task;
  const begun: Task = { taskId, status, statusMessage, createdAt, lastUpdatedAt, ttlMs, pollIntervalMs };
  // The SDK types results without extensions, and passes on what an extension defines.
  return { resultType: 'task', ...begun } as unknown as CallToolResult;
}

export interface TaskOptions {
  readonly tasks: Tasks;
  readonly callerOf: (context: ServerContext) => Caller;
}

const taskParams = z.looseObject({ taskId: z.string().max(200) });

/** Serves `tasks/get`, `tasks/update` and `tasks/cancel`. */
export function serveTasks(server: McpServer, { tasks, callerOf }: TaskOptions): void {
  const { server: inner } = server;
  inner.registerCapabilities({ extensions: { [TASKS]: {} } });
  const serve = (
    method: 'tasks/get' | 'tasks/update' | 'tasks/cancel',
    answer: (taskId: string, context: ServerContext) => Promise<object>,
  ): void =>
    inner.setRequestHandler(method, { params: taskParams }, async ({ taskId }, context) => {
      assertFollowsTasks(server, context, method);
      return { ...(await answer(taskId, context)) };
    });

  serve('tasks/get', async (taskId) => {
    const task = await tasks.get(taskId);
    // The SDK says what kind of result it is on the outermost one only.
    return 'result' in task ? { ...task, result: { ...task.result, resultType: 'complete' } } : task;
  });
  serve('tasks/update', async (taskId, context) => {
    // The SDK has taken the answers out of the parameters, as it does for every request that may bring some.
    await tasks.update(taskId, context.mcpReq.inputResponses ?? {}, callerOf(context));
    return {};
  });
  serve('tasks/cancel', async (taskId, context) => {
    await tasks.cancel(taskId, callerOf(context));
    return {};
  });
}

/** Throws the protocol's own error for a request that does not declare the extension. */
function assertFollowsTasks(server: McpServer, context: ServerContext, method: string): void {
  if (abilitiesOf(server, context).tasks) return;
  throw new MissingRequiredClientCapabilityError(
    { requiredCapabilities: { extensions: { [TASKS]: {} } } },
    `${method} is for clients that declare the extension ${TASKS}; get_run and cancel_run do the same.`,
  );
}
