"""The same service, written as in the tutorials of its libraries, for comparison.

FastAPI, SQLAlchemy's asynchronous ORM, aiosqlite or asyncpg: a session per request by
dependency, the token decoded and the user loaded on every request, response models. Only the
durability is raised to chatcore's (on SQLite, WAL with synchronous=FULL), and each query has the
index that it needs.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import jwt
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import OAuth2PasswordBearer
from pydantic import BaseModel
from sqlalchemy import DateTime, ForeignKey, event, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, joinedload, mapped_column, relationship

SECRET = os.environ["BENCH_SECRET"]
engine = create_async_engine(os.environ["BENCH_DATABASE_URL"], connect_args={"timeout": 30})
new_session = async_sessionmaker(engine, expire_on_commit=False)
hasher = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)
bearer = OAuth2PasswordBearer(tokenUrl="login")


@event.listens_for(engine.sync_engine, "connect")
def configure(connection: Any, _: object) -> None:
    if engine.dialect.name != "sqlite":
        return
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(unique=True, index=True)
    password_hash: Mapped[str]


class Chat(Base):
    __tablename__ = "chats"
    id: Mapped[int] = mapped_column(primary_key=True)
    user1_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    user2_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    user1: Mapped[User] = relationship(foreign_keys=[user1_id])
    user2: Mapped[User] = relationship(foreign_keys=[user2_id])


class Message(Base):
    __tablename__ = "messages"
    id: Mapped[int] = mapped_column(primary_key=True)
    chat_id: Mapped[int] = mapped_column(ForeignKey("chats.id"), index=True)
    sender_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    text: Mapped[str]
    sent_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), default=lambda: datetime.now(UTC)
    )
    sender: Mapped[User] = relationship()


class Credentials(BaseModel):
    username: str
    password: str


class NewMessage(BaseModel):
    message: str


class ChatOut(BaseModel):
    chat_id: int
    user: str


class MessageOut(BaseModel):
    sender: str
    message: str


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


async def get_session() -> AsyncIterator[AsyncSession]:
    async with new_session() as session:
        yield session


Session = Annotated[AsyncSession, Depends(get_session)]


def create_token(user_id: int) -> str:
    now = datetime.now(UTC)
    claims = {"user_id": user_id, "iat": now, "exp": now + timedelta(hours=12)}
    return jwt.encode(claims, SECRET, algorithm="HS256")


async def get_current_user(token: Annotated[str, Depends(bearer)], session: Session) -> User:
    try:
        claims = jwt.decode(token, SECRET, algorithms=["HS256"])
    except jwt.InvalidTokenError:
        raise HTTPException(401) from None
    user = await session.get(User, claims["user_id"])
    if user is None:
        raise HTTPException(401)
    return user


CurrentUser = Annotated[User, Depends(get_current_user)]


async def find_user(session: AsyncSession, name: str) -> User | None:
    return await session.scalar(select(User).where(User.username == name))


async def find_chat(session: AsyncSession, user: User, name: str) -> Chat | None:
    peer = await find_user(session, name)
    if peer is None:
        return None
    return await session.scalar(
        select(Chat).where(
            or_(
                (Chat.user1_id == user.id) & (Chat.user2_id == peer.id),
                (Chat.user1_id == peer.id) & (Chat.user2_id == user.id),
            )
        )
    )


@app.post("/register", status_code=201)
async def register(credentials: Credentials, session: Session) -> dict[str, str]:
    session.add(
        User(username=credentials.username, password_hash=hasher.hash(credentials.password))
    )
    try:
        await session.commit()
    except IntegrityError:
        raise HTTPException(400) from None
    return {"message": "User registered successfully"}


@app.post("/login")
async def login(credentials: Credentials, session: Session) -> dict[str, str]:
    user = await find_user(session, credentials.username)
    try:
        hasher.verify(user.password_hash if user else "", credentials.password)
    except VerifyMismatchError:
        raise HTTPException(401) from None
    assert user
    return {"token": create_token(user.id)}


@app.get("/chats")
async def list_chats(user: CurrentUser, session: Session) -> list[ChatOut]:
    chats = await session.scalars(
        select(Chat)
        .where(or_(Chat.user1_id == user.id, Chat.user2_id == user.id))
        .options(joinedload(Chat.user1), joinedload(Chat.user2))
    )
    return [
        ChatOut(
            chat_id=chat.id,
            user=chat.user2.username if chat.user1_id == user.id else chat.user1.username,
        )
        for chat in chats
    ]


@app.post("/chat/{user_name}", status_code=201)
async def open_chat(user_name: str, user: CurrentUser, session: Session) -> ChatOut:
    peer = await find_user(session, user_name)
    if peer is None or await find_chat(session, user, user_name):
        raise HTTPException(400)
    chat = Chat(user1_id=user.id, user2_id=peer.id)
    session.add(chat)
    await session.commit()
    return ChatOut(chat_id=chat.id, user=peer.username)


@app.post("/chats/{user_name}/messages", status_code=201)
async def send(user_name: str, body: NewMessage, user: CurrentUser, session: Session) -> MessageOut:
    chat = await find_chat(session, user, user_name)
    if chat is None:
        raise HTTPException(400)
    session.add(Message(chat_id=chat.id, sender_id=user.id, text=body.message))
    await session.commit()
    return MessageOut(sender=user.username, message=body.message)


@app.get("/chats/messages/{user_name}")
async def read(
    user_name: str, user: CurrentUser, session: Session, limit: int | None = None
) -> list[MessageOut]:
    chat = await find_chat(session, user, user_name)
    if chat is None:
        raise HTTPException(404)
    newest = (
        select(Message)
        .where(Message.chat_id == chat.id)
        .order_by(Message.id.desc())
        .options(joinedload(Message.sender))
        .limit(limit)
    )
    messages = list(await session.scalars(newest))
    return [MessageOut(sender=m.sender.username, message=m.text) for m in reversed(messages)]
