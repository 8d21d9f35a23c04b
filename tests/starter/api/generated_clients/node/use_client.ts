// Uses every kind of route of the API through the generated client, and prints what happened as JSON.
// Arguments: the URL of the API and a token. The test prepares the orders, see test_generated_clients.py.

import createClient from 'openapi-fetch';
import type { components, paths } from './api.js';

type Schemas = components['schemas'];

const DEADLINE = 120_000; // milliseconds
const ORDER: Schemas['PlacedOrder'] = {
  financial_status: 'paid',
  created_at: '2026-03-02T12:00:00Z',
  lines: [{ quantity: 1, price: '12.50', sku: 'MUG' }],
  shipping_method: 'Standard',
  shipping_country: 'GB',
};
const ANN = { email: 'ann@customer.example', password: 'correct horse', first_name: 'Ann', last_name: 'Lee' };

const [baseUrl, token] = process.argv.slice(2) as [string, string];
const client = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${token}` } });

function put(orderId: string, order = ORDER) {
  return client.PUT('/orders/{order_id}', { params: { path: { order_id: orderId } }, body: order });
}

function execute(workflowId: string, input: Record<string, string>, wait?: number) {
  const body = { workflow_id: workflowId, input, ...(wait === undefined ? {} : { wait_seconds: wait }) };
  return client.POST('/workflows/execute', { body });
}

function path(transactionId: string) {
  return { path: { transaction_id: transactionId } };
}

function known<T>(value: T | null | undefined): T {
  if (value === null || value === undefined) throw new Error('something is missing');
  return value;
}

async function start(orderId: string): Promise<Schemas['ExecutionPending']> {
  const { data } = await execute('order-processing', { order_id: orderId }, 0);
  if (!data || !('status' in data)) throw new Error('the process has ended');
  return data;
}

async function ended(transactionId: string): Promise<Schemas['ProcessStatus']> {
  const deadline = Date.now() + DEADLINE;
  for (;;) {
    const shown = known((await client.GET('/workflows/{transaction_id}', { params: path(transactionId) })).data);
    if (shown.status !== 'running') return shown;
    if (Date.now() > deadline) throw new Error(`${transactionId} is still running`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function fulfill() {
  const placed = known((await put('c-1')).data);
  const again = known((await put('c-1')).data);
  const pending = await start('c-1');
  const shown = await ended(pending.transaction_id);
  const { data: result } = await execute('order-processing', { order_id: 'c-1' });
  if (!result || !('result' in result)) throw new Error('the process has not ended');
  return {
    placed: [placed.status, again.status, known(placed.transaction_id)],
    pending: [pending.status, pending.transaction_id],
    shown: [shown.status, shown.state, known(shown.progress).steps.map((step) => step.state)],
    result: (result.result as { status: string }).status,
  };
}

async function follow() {
  const route = '/workflows/{transaction_id}/events';
  const { response } = await client.GET(route, { params: path('order-processing-c-1'), parseAs: 'stream' });
  const fields = (await response.text()).split('\n').map((line) => line.split(': ', 2));
  const values = (name: string) => fields.filter((field) => field[0] === name).map((field) => field[1]);
  const header = { 'last-event-id': known(values('id').at(-1)) };
  const again = await client.GET(route, { params: { ...path('order-processing-c-1'), header } });
  return { events: values('event'), reconnected: again.response.status === 204 };
}

async function retry() {
  await put('c-2');
  const failed = known((await execute('order-processing', { order_id: 'c-2' })).error);
  const params = path(known(failed.transaction_id));
  const body = { reason: 'It works again' };
  const accepted = known((await client.POST('/workflows/{transaction_id}/retry', { params, body })).data);
  return {
    failed: [failed.code, known(failed.failed_step)],
    retried: [accepted.action, (await ended(accepted.transaction_id)).status],
  };
}

async function cancel() {
  await put('c-3');
  const { transaction_id: id } = await start('c-3');
  const accepted = known((await client.POST('/workflows/{transaction_id}/cancel', { params: path(id) })).data);
  return { cancelled: [accepted.action, (await ended(id)).status] };
}

async function register() {
  const { data: registered } = await execute('customer-registration', ANN);
  const { error: again } = await execute('customer-registration', ANN);
  if (!registered || !('result' in registered)) throw new Error('the customer is not registered');
  const { customer } = registered.result as { customer: { email: string } };
  return { registered: customer.email, registered_again: known(again).code };
}

async function errors() {
  const unknown = await client.GET('/workflows/{transaction_id}', { params: path('order-processing-c-4') });
  const invalid = await put('c-5', { ...ORDER, shipping_country: 'Atlantis' });
  const headers = { Authorization: 'Bearer wrong' };
  const unauthorized = await client.GET('/workflows', { headers });
  return {
    unknown: known(unknown.error).code,
    invalid: known(known(invalid.error).fields).map((field) => field.field),
    unauthorized: known(unauthorized.error).code,
  };
}

const found = {
  ...(await fulfill()),
  ...(await follow()),
  ...(await retry()),
  ...(await cancel()),
  ...(await register()),
  ...(await errors()),
};
console.log(JSON.stringify(found));
