// The page's texts in English and Russian, and its formats of dates and times.
//
// Russian texts must not decline a user's name: it stands in the nominative, beside a colon.

const EN = {
  name: "Name",
  password: "Password",
  signIn: "Sign in",
  createAccount: "Create account",
  newHere: "New here?",
  haveAccount: "Have an account?",
  tagline: "One to one, nothing missed.",
  nameRule: "1 to 64 characters. Others find you by this name.",
  passwordRule: "At least 8 characters.",
  wrongPassword: "The name or the password is wrong.",
  nameRefused: "This name is taken, or the name or the password cannot be used. Try others.",
  shortPassword: "The password needs at least 8 characters.",
  busy: "The service is busy. Try again in a moment.",
  tooMany: {
    one: "Too many attempts. Try again in {n} second.",
    other: "Too many attempts. Try again in {n} seconds.",
  },
  unreachable: "The service does not answer. Try again in a moment.",
  showPassword: "Show password",
  expired: "Still there?",
  expiredText: "Your session has ended. Your drafts and unsent messages are kept.",
  passwordOf: "Password of {name}",
  continue: "Continue",
  signOut: "Sign out",
  signOutUnsent: {
    one: "{n} message has not been sent yet and will be deleted. Sign out?",
    other: "{n} messages have not been sent yet and will be deleted. Sign out?",
  },
  chats: "Chats",
  startChat: "Start a chat",
  personName: "Name of a person",
  noSuchUser: "No user has this name.",
  notAllowed: "You may not start a chat with this person.",
  yourself: "This is your own name.",
  noChats: "No chats yet",
  noChatsText: "Enter a person’s name above, and say hello.",
  chooseChat: "Choose a chat, or start a new one",
  noMessages: "No messages yet. Say hello.",
  you: "You",
  back: "Back to the chats",
  messagesWith: "Messages with {name}",
  message: "Message",
  messageTo: "Message to {name}",
  send: "Send",
  tooLong: {
    one: "{n} character too many",
    other: "{n} characters too many",
  },
  pending: "Waiting to be sent",
  failed: "Not sent",
  undelivered: "Could not be delivered",
  sent: "Sent",
  read: "Read",
  retry: "Try again",
  remove: "Delete",
  loading: "Loading…",
  loadFailed: "The messages could not be loaded.",
  newMessages: "New messages",
  toNewest: "To the newest messages",
  unread: { one: "{n} unread message", other: "{n} unread messages" },
  noSuchChat: "There is no such chat.",
  connecting: "Connecting…",
  "catching-up": "Catching up…",
  online: "Online",
  offline: "Offline. Trying again…",
  tryNow: "Try now",
  block: "Block",
  blockAsk: "Block {name}? You will no longer be able to write to each other.",
  blocked: "You blocked {name}.",
  unblock: "Unblock",
  cancel: "Cancel",
  close: "Close",
  account: "Account",
  devices: "Devices",
  thisDevice: "this device",
  lastUsed: "last used: {when}",
  endDevice: "Sign out {device}",
  changePassword: "Change password",
  currentPassword: "Current password",
  newPassword: "New password",
  passwordChanged: "The password is changed. Sign in again on your other devices.",
  wrongCurrent: "This is not your password.",
  refusedPassword: "This password cannot be used. Try another one.",
  download: "Download my data",
  downloadFailed: "The download is incomplete. Try again.",
  signOutEverywhere: "Sign out everywhere",
  deleteAccount: "Delete account",
  deleteText: "Your account will be deleted permanently, and its name will never be given to another. The people you wrote to keep your messages.",
  deleteForGood: "Delete for good",
};

const RU = {
  name: "Имя",
  password: "Пароль",
  signIn: "Войти",
  createAccount: "Создать аккаунт",
  newHere: "Впервые здесь?",
  haveAccount: "Уже есть аккаунт?",
  tagline: "Один на один, и ничего не теряется.",
  nameRule: "От 1 до 64 символов. По этому имени вас можно будет найти.",
  passwordRule: "Не меньше 8 символов.",
  wrongPassword: "Неверное имя или пароль.",
  nameRefused: "Имя занято, либо имя или пароль не подходят. Попробуйте другие.",
  shortPassword: "В пароле должно быть не меньше 8 символов.",
  busy: "Сервис занят. Попробуйте чуть позже.",
  tooMany: {
    one: "Слишком много попыток. Попробуйте через {n} секунду.",
    few: "Слишком много попыток. Попробуйте через {n} секунды.",
    many: "Слишком много попыток. Попробуйте через {n} секунд.",
    other: "Слишком много попыток. Попробуйте через {n} секунды.",
  },
  unreachable: "Сервис не отвечает. Попробуйте чуть позже.",
  showPassword: "Показать пароль",
  expired: "Вы ещё здесь?",
  expiredText: "Сеанс закончился. Черновики и неотправленные сообщения сохранены.",
  passwordOf: "{name}: пароль",
  continue: "Продолжить",
  signOut: "Выйти",
  signOutUnsent: {
    one: "{n} сообщение ещё не отправлено и будет удалено. Выйти?",
    few: "{n} сообщения ещё не отправлены и будут удалены. Выйти?",
    many: "{n} сообщений ещё не отправлено и будет удалено. Выйти?",
    other: "{n} сообщения ещё не отправлено и будет удалено. Выйти?",
  },
  chats: "Чаты",
  startChat: "Начать чат",
  personName: "Имя собеседника",
  noSuchUser: "Пользователя с таким именем нет.",
  notAllowed: "С этим человеком нельзя начать чат.",
  yourself: "Это ваше собственное имя.",
  noChats: "Чатов пока нет",
  noChatsText: "Введите имя собеседника выше и поздоровайтесь.",
  chooseChat: "Выберите чат или начните новый",
  noMessages: "Сообщений пока нет. Поздоровайтесь.",
  you: "Вы",
  back: "Назад к чатам",
  messagesWith: "{name}: сообщения",
  message: "Сообщение",
  messageTo: "Сообщение. Кому: {name}",
  send: "Отправить",
  tooLong: {
    one: "{n} лишний символ",
    few: "{n} лишних символа",
    many: "{n} лишних символов",
    other: "{n} лишних символа",
  },
  pending: "Ждёт отправки",
  failed: "Не отправлено",
  undelivered: "Не удалось доставить",
  sent: "Отправлено",
  read: "Прочитано",
  retry: "Повторить",
  remove: "Удалить",
  loading: "Загрузка…",
  loadFailed: "Не удалось загрузить сообщения.",
  newMessages: "Новые сообщения",
  toNewest: "К последним сообщениям",
  unread: {
    one: "{n} непрочитанное сообщение",
    few: "{n} непрочитанных сообщения",
    many: "{n} непрочитанных сообщений",
    other: "{n} непрочитанных сообщения",
  },
  noSuchChat: "Такого чата нет.",
  connecting: "Подключение…",
  "catching-up": "Получаем пропущенное…",
  online: "В сети",
  offline: "Нет связи. Пробуем снова…",
  tryNow: "Попробовать сейчас",
  block: "Заблокировать",
  blockAsk: "{name}: заблокировать? Вы больше не сможете писать друг другу.",
  blocked: "Заблокировано: {name}.",
  unblock: "Разблокировать",
  cancel: "Отмена",
  close: "Закрыть",
  account: "Аккаунт",
  devices: "Устройства",
  thisDevice: "это устройство",
  lastUsed: "был активен: {when}",
  endDevice: "Выйти на устройстве {device}",
  changePassword: "Сменить пароль",
  currentPassword: "Текущий пароль",
  newPassword: "Новый пароль",
  passwordChanged: "Пароль изменён. На других устройствах нужно войти снова.",
  wrongCurrent: "Это не ваш пароль.",
  refusedPassword: "Этот пароль не подходит. Попробуйте другой.",
  download: "Скачать мои данные",
  downloadFailed: "Данные загружены не полностью. Попробуйте ещё раз.",
  signOutEverywhere: "Выйти на всех устройствах",
  deleteAccount: "Удалить аккаунт",
  deleteText: "Аккаунт будет удалён навсегда, и его имя больше никто не получит. Ваши сообщения останутся у тех, кому вы писали.",
  deleteForGood: "Удалить навсегда",
};

const locale = navigator.languages.find((each) => /^(en|ru)\b/i.test(each)) ?? "en";

export const language = /^ru/i.test(locale) ? "ru" : "en";

const texts = language === "ru" ? RU : EN;
const plural = new Intl.PluralRules(language);
const number = new Intl.NumberFormat(locale);
const clock = new Intl.DateTimeFormat(navigator.language, { hour: "numeric", minute: "2-digit" });
const dayOfYear = new Intl.DateTimeFormat(locale, { day: "numeric", month: "long" });
const dayOfAnyYear = new Intl.DateTimeFormat(locale, { dateStyle: "long" });
const shortDay = new Intl.DateTimeFormat(locale, { day: "numeric", month: "short" });
const shortDate = new Intl.DateTimeFormat(locale, { dateStyle: "short" });
const full = new Intl.DateTimeFormat(locale, { dateStyle: "full", timeStyle: "medium" });
const relative = new Intl.RelativeTimeFormat(locale, { numeric: "auto" });

/** The text called `name`; each `{key}` in it is replaced by `values.key`. */
export function say(name, values = {}) {
  return texts[name].replace(/\{(\w+)\}/g, (_, key) => values[key]);
}

/** The text called `name`, in the plural form for `n`. */
export function count(name, n) {
  return (texts[name][plural.select(n)] ?? texts[name].other).replace("{n}", number.format(n));
}

export const timeOf = (date) => clock.format(date);

export const momentOf = (date) => full.format(date);

/** "Today", "Yesterday", "4 March", "4 March 2025". */
export function dayOf(date) {
  const days = daysAgo(date);
  if (days === 0 || days === 1) return capital(relative.format(-days, "day"));
  return sameYear(date) ? dayOfYear.format(date) : dayOfAnyYear.format(date);
}

/** The time if it was today, otherwise the day. */
export function brief(date) {
  const days = daysAgo(date);
  if (days <= 0) return timeOf(date);
  if (days === 1) return capital(relative.format(-1, "day"));
  return sameYear(date) ? shortDay.format(date) : shortDate.format(date);
}

function daysAgo(date) {
  const midnight = (day) => Date.UTC(day.getFullYear(), day.getMonth(), day.getDate());
  return (midnight(new Date()) - midnight(date)) / 86_400_000;
}

const sameYear = (date) => date.getFullYear() === new Date().getFullYear();

const capital = (text) => text[0].toLocaleUpperCase(language) + text.slice(1);
