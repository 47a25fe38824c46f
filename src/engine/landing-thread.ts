/** The thread that owns the warehouse's writing handle. Calls are carried out one after the other, in order. */

import { parentPort } from 'node:worker_threads';
import { asMillraceError, faultOf, MillraceError } from '../core/errors.ts';
import type { Destination, Replayer, Writer } from '../destinations/destination.ts';
import { openDestination } from '../destinations/index.ts';
import type { LandingCall, LandingReply, OpenedWriter } from './landing.ts';

let destination: Destination | undefined;
let writer: Writer | undefined;
let replayer: Replayer | undefined;
/** After a commit has failed nothing behind it may land: the position would jump over what is missing. */
let failure: unknown;
let turn: Promise<void> = Promise.resolve();

parentPort?.on('message', (message: LandingCall & { readonly id: number }) => {
  turn = turn.then(async () => {
    parentPort?.postMessage(await answer(message));
  });
});

async function answer(message: LandingCall & { readonly id: number }): Promise<LandingReply> {
  try {
    return { id: message.id, value: await carryOut(message) };
  } catch (error) {
    const known = asMillraceError(error);
    return {
      id: message.id,
      error: known.toView(),
      ...(known.code === 'internal' ? { fault: faultOf(error) } : {}),
    };
  }
}

async function carryOut(call: LandingCall): Promise<unknown> {
  switch (call.op) {
    case 'begin':
      // Still open when a run follows another one closely; a process has one warehouse.
      destination ??= openDestination(call.warehouseFile);
      return undefined;
    case 'landed':
      return await opened().landed(call.connector, call.stream);
    case 'open': {
      await closeAll();
      failure = undefined;
      writer = await opened().writer(call.request);
      const { cursor, counts, changes, columns, rebuilding, hasRejects } = writer;
      return {
        cursor,
        counts,
        changes: [...changes],
        columns,
        rebuilding,
        hasRejects,
      } satisfies OpenedWriter;
    }
    case 'commit':
      // Batches that were on their way when one failed fail as it did.
      if (failure !== undefined) throw failure;
      return await current()
        .commit(call.batch)
        .catch((error: unknown) => {
          failure = error;
          throw error;
        });
    case 'valuesOf':
      return await current().valuesOf(call.column);
    case 'liveRows':
      return await current().liveRows();
    case 'seenKeys':
      return await current().seenKeys(call.keys, call.rows);
    case 'markDeleted':
      return await current().markDeleted(call.ceiling);
    case 'finish':
      return await current().finish(call);
    case 'replay':
      await closeAll();
      replayer = await opened().replayer(call.request);
      return replayer.columns;
    case 'next':
      return await replaying().next();
    case 'land':
      return await replaying().land(call.judged);
    case 'close':
      return await closeAll();
    case 'end':
      await closeAll();
      await destination?.[Symbol.asyncDispose]();
      destination = undefined;
      return undefined;
    default:
      throw call satisfies never;
  }
}

function opened(): Destination {
  if (destination === undefined) throw misuse('open before begin');
  return destination;
}

async function closeAll(): Promise<void> {
  await writer?.[Symbol.asyncDispose]();
  await replayer?.[Symbol.asyncDispose]();
  writer = undefined;
  replayer = undefined;
}

function replaying(): Replayer {
  if (replayer === undefined) throw misuse('no replay is open');
  return replayer;
}

function current(): Writer {
  if (writer === undefined) throw misuse('no writer is open');
  return writer;
}

function misuse(what: string): MillraceError {
  return new MillraceError('internal', `The writing thread was misused: ${what}.`, {
    hint: 'Report this with the lines of that run in the log.',
  });
}
