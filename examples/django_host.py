"""A shop on Django, with users and a login of its own, has a chat for them under /chat.

python examples/django_host.py migrate
uvicorn --app-dir examples django_host:application
"""

import secrets
from types import SimpleNamespace
from typing import Any

import django
from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib import auth
from django.contrib.auth.decorators import login_required
from django.contrib.sessions.backends.db import SessionStore
from django.core.asgi import get_asgi_application
from django.core.management import execute_from_command_line
from django.db import close_old_connections
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

from chatcore import RequestHead, Session, User
from chatcore_asgi import ChatApp, ChatConfig

# The shop: Django has the users, in a table, and their sessions, in another.

settings.configure(
    SECRET_KEY=secrets.token_hex(),
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "shop.db"}},
    INSTALLED_APPS=[f"django.contrib.{name}" for name in ("auth", "contenttypes", "sessions")],
    MIDDLEWARE=[  # In your shop, with CsrfViewMiddleware too.
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
)
django.setup()
users = auth.get_user_model().objects


# The chat. It runs beside Django's middleware, so it looks up the session itself.


class Login:
    ambient = True  # Browsers send cookies by themselves.

    def credential(self, request: RequestHead) -> Any:
        return request.cookies.get(settings.SESSION_COOKIE_NAME)

    async def session(self, credential: Any) -> Session:
        await sync_to_async(close_old_connections)()  # As Django does before each request.
        user = await auth.aget_user(SimpleNamespace(session=SessionStore(credential)))
        return Session(await chat_user(user))


async def chat_user(user: Any) -> User:
    # An empty name is refused: to the chat, an AnonymousUser is not logged in.
    return await chat.messenger.user(str(user.pk), name=user.get_username())


chat = ChatApp(ChatConfig(database_url="sqlite:///chat.db", realm="shop", authenticator=Login()))
application = chat.beside(get_asgi_application())


async def ask(request: HttpRequest, to: int) -> HttpResponse:
    """Send a message from the user of the session, the first one or a later one."""
    buyer, seller = [await chat_user(u) for u in (await request.auser(), await users.aget(pk=to))]
    conversation, _ = await chat.messenger.ensure_chat(buyer, seller)
    message = await chat.messenger.send(buyer, conversation, request.POST["text"])
    return JsonResponse({"seq": message.seq})


# The rest of the shop.


async def log_in(request: HttpRequest) -> HttpResponse:
    if (user := await auth.aauthenticate(request, **request.POST.dict())) is None:
        return HttpResponse(status=401)
    await auth.alogin(request, user)
    return HttpResponse()


async def log_out(request: HttpRequest) -> HttpResponse:
    user = await chat_user(await request.auser())
    await auth.alogout(request)
    chat.messenger.changes.announce(user.id)  # Ends the user's open streams.
    return HttpResponse()


urlpatterns = [
    path("questions/<int:to>", login_required(ask)),
    path("login", log_in),
    path("logout", login_required(log_out)),
]

if __name__ == "__main__":
    execute_from_command_line()
