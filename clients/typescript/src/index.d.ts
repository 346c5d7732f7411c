import type { Method, Params, RenderReply, Replies, Usage } from "./protocol.js"
export type * from "./protocol.js"

/** A call has no result; `kind` is the daemon's stable word, `unreachable`, `deadline` or `aborted`. */
export declare class CallFailed extends Error {
  constructor(kind: string, message: string, hint?: string)
  readonly kind: string
  readonly hint: string
}

export interface ClientOptions {
  /** The daemon's socket; by default where `ctxgc` finds the daemon. */
  socket?: string
  /** Whether a daemon is started where none listens: by `command up`. */
  startDaemon?: boolean
  command?: string
  env?: Record<string, string | undefined>
}

export interface CallOptions {
  deadlineMs?: number
  signal?: AbortSignal
}

export interface CollectOptions {
  format: "anthropic_messages" | "openai_chat" | "openai_responses"
  /** Tokens of the list, system prompt and tools included once a bill told of these. */
  budget: number
  unit?: "billed" | "raw"
  deadlineMs?: number
  /** The bill of the list before. */
  usage?: Usage | null
}

export interface CollectedList<M> {
  /** The caller's own array where nothing is out; its own messages wherever the daemon changed none. */
  messages: M[]
  isEdited: boolean
  reply: RenderReply | null
  /** Why the list came back as it was; empty where nothing failed. */
  failure: string
}

export type Event = { topic: string; seq?: number } & Record<string, unknown>

export declare class Client {
  constructor(options?: ClientOptions)
  readonly failures: Record<string, number>
  call<M extends Method>(method: M, params?: Params[M], options?: CallOptions): Promise<Replies[M]>
  collect<M>(session: string, messages: M[], options: CollectOptions): Promise<CollectedList<M>>
  events(topics: string[], options?: { fromSeq?: number; signal?: AbortSignal }): AsyncGenerator<Event, void>
  close(): void
}
