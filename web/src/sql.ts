// Questions in SQL, for what no call of the contract lists.

import { create } from "@bufbuild/protobuf";
import type { Value } from "@bufbuild/protobuf/wkt";
import { ValueSchema } from "@bufbuild/protobuf/wkt";

import { Consistency } from "@raft-control-plane/stubs/controlplane/v1/task_pb.js";

import { queryCalls } from "./call";

export type Cell = string | number | null;
export type Row = Record<string, Cell>;

export interface Table {
  columns: string[];
  rows: Cell[][];
  truncated: boolean;
  appliedIndex: bigint;
}

// table runs one statement.
export async function table(sql: string, params: Cell[] = [], consistency = Consistency.STALE, signal?: AbortSignal): Promise<Table> {
  const response = await queryCalls.query({ sql, params: params.map(toValue), consistency }, signal ? { signal } : {});
  const rows = response.rows.map((row) => row.values.map(fromValue));
  return { columns: response.columns, rows, truncated: response.truncated, appliedIndex: response.appliedIndex };
}

// rows runs one statement and returns each row by the names of its columns.
export async function rows(sql: string, params: Cell[] = [], signal?: AbortSignal): Promise<Row[]> {
  const t = await table(sql, params, Consistency.STALE, signal);
  return t.rows.map((row) => Object.fromEntries(t.columns.map((name, i) => [name, row[i] ?? null])));
}

export const num = (cell: Cell | undefined): number => Number(cell ?? 0);
export const str = (cell: Cell | undefined): string => (cell === null || cell === undefined ? "" : String(cell));

function toValue(cell: Cell): Value {
  switch (typeof cell) {
    case "string":
      return create(ValueSchema, { kind: { case: "stringValue", value: cell } });
    case "number":
      return create(ValueSchema, { kind: { case: "numberValue", value: cell } });
    default:
      return create(ValueSchema, { kind: { case: "nullValue", value: 0 } });
  }
}

function fromValue(value: Value): Cell {
  switch (value.kind.case) {
    case "stringValue":
    case "numberValue":
      return value.kind.value;
    case "boolValue":
      return Number(value.kind.value);
    default:
      return null;
  }
}
