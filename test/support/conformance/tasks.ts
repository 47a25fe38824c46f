import { randomUUID } from 'node:crypto';
import {
  type CallToolResult,
  type InputRequests,
  type InputRequiredResult,
  isInputRequiredResult,
  MissingRequiredClientCapabilityError,
  ProtocolError,
  ProtocolErrorCode,
} from '@modelcontextprotocol/server';
import { abilitiesOf, TASKS } from '../../../src/mcp/client-abilities.ts';
import { type DetailedTask, type Task, type Tasks, taskResult } from '../../../src/mcp/tasks.ts';
import { ask, form, yesOrNo } from './asking.ts';
import { type Call, type FixtureTool, said } from './fixture.ts';

/** Tasks that no run can be: that wait for a person, that break in the protocol's own sense. */
export interface Shelf extends Tasks {
  /** `later` is how it stands after a moment, unless it was cancelled. */
  begin(state: State, later?: State): DetailedTask;
  has(taskId: string): boolean;
}

type Without<T> = T extends unknown ? Omit<T, Exclude<keyof Task, 'status'>> : never;
type State = Without<DetailedTask>;

/** How long they work. */
const workMs = 150;

export function createShelf(): Shelf {
  const tasks = new Map<string, DetailedTask>();
  const put = (taskId: string, state: State): DetailedTask => {
    const now = new Date().toISOString();
    const { createdAt = now } = tasks.get(taskId) ?? {};
    const about = { statusMessage: state.status, createdAt, lastUpdatedAt: now };
    const task = { ...about, ...state, taskId, ttlMs: 60_000, pollIntervalMs: 100 } as DetailedTask;
    tasks.set(taskId, task);
    return task;
  };
  const get = async (taskId: string): Promise<DetailedTask> => {
    const task = tasks.get(taskId);
    if (task === undefined)
      throw new ProtocolError(ProtocolErrorCode.InvalidParams, `There is no task "${taskId}".`);
    return task;
  };
  return {
    has: (taskId) => tasks.has(taskId),
    begin(state, later) {
      const task = put(randomUUID(), state);
      const goOn = (): void => {
        if (later !== undefined && tasks.get(task.taskId)?.status === 'working') put(task.taskId, later);
      };
      setTimeout(goOn, workMs).unref();
      return task;
    },
    get,
    async update(taskId, answers) {
      const task = await get(taskId);
      if (!('inputRequests' in task)) return;
      const open = Object.entries(task.inputRequests).filter(([key]) => !(key in answers));
      if (open.length === 0) put(taskId, done('Answered.'));
      else put(taskId, { status: 'input_required', inputRequests: Object.fromEntries(open) });
    },
    async cancel(taskId) {
      const { status } = await get(taskId);
      if (status === 'working' || status === 'input_required') put(taskId, { status: 'cancelled' });
    },
  };
}

/** Those of the shelf, and the others. */
export function together(shelf: Shelf, others: Tasks): Tasks {
  const of = (taskId: string): Tasks => (shelf.has(taskId) ? shelf : others);
  return {
    get: (taskId) => of(taskId).get(taskId),
    update: (taskId, answers, caller) => of(taskId).update(taskId, answers, caller),
    cancel: (taskId, caller) => of(taskId).cancel(taskId, caller),
  };
}

function done(text: string): State {
  return { status: 'completed', result: said(text) };
}

function waitsFor(inputRequests: InputRequests): State {
  return { status: 'input_required', inputRequests };
}

/** Tools that begin tasks of the shelf. Each needs a client that follows tasks, and says so to others. */
export function shelfTools(shelf: Shelf): readonly FixtureTool[] {
  const tool = (name: string, state: State, later?: State): FixtureTool => ({
    name,
    call: (call) => {
      assertFollowsTasks(call);
      return taskResult(shelf.begin(state, later));
    },
  });
  const failed: CallToolResult = { ...said('The job failed.'), isError: true };
  const broken = { code: ProtocolErrorCode.InternalError, message: 'The job broke.' };
  return [
    tool('failing_job', { status: 'working' }, { status: 'completed', result: failed }),
    tool('protocol_error_job', { status: 'working' }, { status: 'failed', error: broken }),
    tool('confirm_delete', waitsFor({ confirm: form('Delete it?', 'confirm', yesOrNo) })),
    tool('multi_input', waitsFor({ first: form('Who?', 'name'), second: form('Who else?', 'name') })),
    { name: 'test_tool_with_task', call: (call) => askedThenBegun(shelf, call) },
  ];
}

/** Asks first, and begins a task when it was answered. */
async function askedThenBegun(shelf: Shelf, call: Call): Promise<CallToolResult | InputRequiredResult> {
  assertFollowsTasks(call);
  const rounds = [() => ({ user_name: form('Who?', 'name') })];
  const asked = await ask({ name: 'test_tool_with_task', signed: true, rounds }, call);
  if (isInputRequiredResult(asked)) return asked;
  const hello = done(`Hello, ${JSON.stringify(asked.answers['user_name'])}!`);
  return taskResult(shelf.begin({ status: 'working' }, hello));
}

function assertFollowsTasks({ server, context }: Call): void {
  if (abilitiesOf(server, context).tasks) return;
  throw new MissingRequiredClientCapabilityError(
    { requiredCapabilities: { extensions: { [TASKS]: {} } } },
    `This is for clients that declare the extension ${TASKS}.`,
  );
}
